package artifacts

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"netlab.dev/netlab/components"
)

// stream returns one OCI archive of several layouts, without the blobs that a containerd
// root already has.
func stream(layouts []string, root string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	blobs := filepath.Join(root, "io.containerd.content.v1.content", "blobs", "sha256")
	held := func(hex string) bool {
		_, err := os.Stat(filepath.Join(blobs, hex))
		return err == nil
	}
	go func() {
		// The reader notices an archive that is cut short.
		_ = errors.Join(writeArchive(w, layouts, held), w.Close())
	}()
	return r, nil
}

// WriteImages writes images as one OCI archive, without the blobs that its
// reader holds: held is asked for their sha256 in hex.
func WriteImages(of components.Artifacts, w io.Writer, refs []string, held func(sha256 string) bool) error {
	var layouts []string
	for _, ref := range refs {
		dir, there := of.Layouts[ref]
		if !there {
			return fmt.Errorf("the artifacts have no image %s", ref)
		}
		layouts = append(layouts, dir)
	}
	return writeArchive(w, layouts, held)
}

// writeArchive writes each blob of some layouts once, except those that the reader has.
func writeArchive(out io.Writer, layouts []string, held func(sha256 string) bool) error {
	w := archive{Writer: tar.NewWriter(out)}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	written := map[string]bool{}
	for _, dir := range layouts {
		l, err := layout.FromPath(dir)
		if err != nil {
			return err
		}
		ii, err := l.ImageIndex()
		if err != nil {
			return err
		}
		m, err := ii.IndexManifest()
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, m.Manifests...)
		blobs := os.DirFS(filepath.Join(dir, "blobs", "sha256"))
		names, err := fs.ReadDir(blobs, ".")
		if err != nil {
			return err
		}
		for _, b := range names {
			if written[b.Name()] {
				continue
			}
			written[b.Name()] = true
			if held(b.Name()) {
				continue
			}
			if err := w.copyFrom(blobs, b.Name(), "blobs/sha256/"+b.Name(), 0o644, 0); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]any{
		"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"}, "index.json": index,
	} {
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := w.file(name, strings.NewReader(string(data)), int64(len(data)), 0o644, 0); err != nil {
			return err
		}
	}
	return w.Close()
}
