package artifacts

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"netlab.dev/netlab/components"
)

// heldFirst reports whether a build's outputs are asked for at a registry before they are built, or
// come from there by the set's lock.
func (o obtaining) heldFirst(m made) bool {
	if locked, is := o.set.Lock.Find(m.what()); is {
		return m.Held != nil && locked.From == fromRegistry
	}
	return m.Held != nil && o.registryFirst()
}

// takeHeld takes the outputs of a build out of an image that has them, into bin/. The error is
// errNotHere if they are to be built.
func (o obtaining) takeHeld(ctx context.Context, m made, dir string, rec *record) error {
	if !o.heldFirst(m) {
		return errNotHere
	}
	p := picture{of: m.of, ref: m.Held.Name + ":" + m.Held.Tag, Image: components.Image{Name: m.Held.Name, Tag: m.Held.Tag}}
	ref, err := name.NewTag(p.ref)
	if err != nil {
		return err
	}
	layout := filepath.Join(dir, "image")
	if err := os.Mkdir(layout, 0o755); err != nil {
		return err
	}
	var pulled record // its digest is the image's
	if err := o.orBuilt(p, o.write(ctx, p, ref, layout, &pulled)); err != nil {
		return errors.Join(err, os.RemoveAll(layout))
	}
	if err := extractOutputs(layout, m, filepath.Join(dir, "bin")); err != nil {
		return fmt.Errorf("%s: %w", p.ref, err)
	}
	rec.From = fromRegistry
	return os.RemoveAll(layout)
}

// extractOutputs copies the outputs of a build out of the image of an OCI layout.
func extractOutputs(layout string, m made, to string) error {
	img, _, err := onlyImage(layout)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	files := mutate.Extract(img)
	defer files.Close()
	lacks := map[string]bool{}
	for output := range m.Packages {
		lacks[output] = true
	}
	for r := tar.NewReader(files); len(lacks) > 0; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("not found in it: %d files of %s, such as %s", len(lacks), m.Held.Path, anyOf(lacks))
		}
		if err != nil {
			return err
		}
		at := path.Clean("/" + header.Name)
		if output := path.Base(at); header.Typeflag == tar.TypeReg && path.Dir(at) == m.Held.Path && lacks[output] {
			delete(lacks, output)
			if err := writeProgram(filepath.Join(to, output), r); err != nil {
				return err
			}
		}
	}
	return nil
}

func anyOf(names map[string]bool) string {
	for name := range names {
		return name
	}
	return ""
}

func writeProgram(to string, in io.Reader) error {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// base is a whole Debian that comes out of an upstream's node image, in place of a layer that may
// not be built.
type base struct {
	ref  string  // "component/layer"; "" for none
	from picture // the upstream's image
}

func (b base) item() item {
	return item{inLayers, "upstream-base", keyOf("lowest layer", b.from.Pull)}
}

// standIn decides whether the upstream's own Debian is used: where the layer is neither cached nor
// to be built, and for the hosts of a lab that have it already.
func (o obtaining) standIn(ref string, from picture) (base, error) {
	b := base{ref, from}
	i, err := o.layerItem(ref)
	if err != nil {
		return base{}, err
	}
	if locked, is := o.set.Lock.Find(whatLayer + ref); is {
		if locked.From == fromRegistry {
			return b, nil
		}
		return base{}, nil
	}
	if rec, cached := o.have(b.item()); cached && o.Before.DebianBase == filepath.Join(o.path(rootfsItem(rec.Digest)), "root") {
		return b, nil
	}
	if _, cached := o.have(i); cached || o.mayBuild(ref) == nil {
		return base{}, nil
	}
	return b, nil
}

// write writes the layer's tar.
func (b base) write(ctx context.Context, o obtaining, dir string, rec *record) error {
	layout, err := o.image(ctx, b.from)
	if err != nil {
		return err
	}
	img, _, err := onlyImage(layout)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) == 0 {
		return fmt.Errorf("%s has no layers", b.from.ref)
	}
	in, err := layers[0].Uncompressed()
	if err != nil {
		return err
	}
	defer in.Close()
	rec.From = fromRegistry
	return writeTar(dir, in, rec)
}
