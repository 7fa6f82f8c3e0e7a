package artifacts

import (
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"netlab.dev/netlab/components"
)

func nodeImage(repository, dir string) (components.NodeImage, error) {
	_, digest, err := onlyImage(dir)
	if err != nil {
		return components.NodeImage{}, err
	}
	return components.NodeImage{Ref: repository + ":" + digest.Hex[:12], Layout: dir}, nil
}

// WriteNodeImage writes the image as `docker save` does: Docker before 25 loads no OCI
// layout.
func WriteNodeImage(n components.NodeImage, w io.Writer) error {
	img, _, err := onlyImage(n.Layout)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(n.Ref)
	if err != nil {
		return fmt.Errorf("the node image's name: %w", err)
	}
	if err := tarball.Write(tag, img, w); err != nil {
		return fmt.Errorf("write an archive of %s: %w", n.Ref, err)
	}
	return nil
}

// onlyImage opens the one image of an OCI layout.
func onlyImage(dir string) (v1.Image, v1.Hash, error) {
	l, err := layout.FromPath(dir)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	ii, err := l.ImageIndex()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	m, err := ii.IndexManifest()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	img, err := l.Image(m.Manifests[0].Digest)
	return img, m.Manifests[0].Digest, err
}
