package components

import (
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// NodeImage is the node image as an image, for those who run Nodes as containers.
type NodeImage struct {
	// Ref is its name with a tag that follows from its content: whoever has an image of
	// this name has this image.
	Ref    string `json:"ref"`
	Layout string `json:"layout"` // OCI layout directory
	// Over is the upstream's image that it is laid over, as name:tag@digest; "" for none.
	Over string `json:"over,omitempty"`
}

func nodeImage(repository, dir string) (NodeImage, error) {
	_, digest, err := onlyImage(dir)
	if err != nil {
		return NodeImage{}, err
	}
	return NodeImage{Ref: repository + ":" + digest.Hex[:12], Layout: dir}, nil
}

// WriteArchive writes the image as `docker save` does: Docker before 25 loads no OCI
// layout.
func (n NodeImage) WriteArchive(w io.Writer) error {
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
