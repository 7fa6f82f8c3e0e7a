package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// minShared is the size in bytes from which on a directory's file is looked for in layers: what is
// built is larger, and of smaller files the reference saves little.
const minShared = 64 << 10

// tree is a directory that is to be archived.
type tree struct {
	dir, skip string
	bytes     int64             // of its files
	sums      map[string]string // sha256 in hex of the files that may be shared, by their names
}

// place is where a layer holds a file.
type place struct {
	layer Blob
	name  string // in the layer's archive
}

// String is what the archive of a directory calls it.
func (p place) String() string { return p.layer.Digest.Hex + "/" + p.name }

// share makes the archives of the directories among contents, with references to those files that a
// layer of the contents holds too: programs that netlab runs on this machine and that are in the Nodes.
func share(contents []Content) error {
	sizes := map[int64]bool{}
	for _, c := range contents {
		if c.tree != nil {
			if err := c.tree.read(sizes); err != nil {
				return fmt.Errorf("read %s: %w", c.What, err)
			}
		}
	}
	held := map[string]place{}
	for _, l := range layersOf(contents) {
		if err := search(l, sizes, held); err != nil {
			return fmt.Errorf("read layer %s: %w", l.Digest, err)
		}
	}
	for i, c := range contents {
		if c.tree == nil {
			continue
		}
		var err error
		if contents[i], err = c.tree.content(c.Entry, held); err != nil {
			return fmt.Errorf("read %s: %w", c.What, err)
		}
	}
	return nil
}

// layersOf are the layers whose files can be read where they are, each once, in a fixed order.
func layersOf(contents []Content) []Blob {
	all := map[string]Blob{}
	for _, c := range contents {
		for _, b := range c.blobs {
			if b.MediaType == types.OCIUncompressedLayer || b.MediaType == types.DockerUncompressedLayer {
				all[b.Digest.Hex] = b
			}
		}
	}
	var sorted []Blob
	for _, hex := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, all[hex])
	}
	return sorted
}

// search adds the files of a layer that have one of the sizes, by their sha256 in hex.
func search(layer Blob, sizes map[int64]bool, held map[string]place) error {
	in, err := layer.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	names := map[string]bool{} // a reader takes the first file of a name
	for archive := tar.NewReader(in); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, tar.ErrHeader) { // one of another kind holds nothing to refer to
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !sizes[h.Size] || names[h.Name] {
			continue
		}
		names[h.Name] = true
		sum, err := sumOf(archive)
		if err != nil {
			return err
		}
		if _, known := held[sum]; !known {
			held[sum] = place{layer, h.Name}
		}
	}
}

// read adds up the sizes of the files, and adds to sizes those of files that may be shared.
func (t *tree) read(sizes map[int64]bool) error {
	t.bytes, t.sums = 0, map[string]string{}
	return filepath.WalkDir(t.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(t.dir, p)
		if err != nil || name == t.skip {
			return err
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		t.bytes += info.Size()
		if info.Size() < minShared {
			return nil
		}
		sizes[info.Size()] = true
		t.sums[name], err = sumOf(in)
		return err
	})
}

// content is the directory as an entry: its archive, and the layers that the archive refers to.
func (t *tree) content(e Entry, held map[string]place) (Content, error) {
	shared, layers := map[string]place{}, map[string]Blob{}
	for name, sum := range t.sums {
		if p, is := held[sum]; is {
			shared[name], layers[p.layer.Digest.Hex] = p, p.layer
		}
	}
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeTree(w, t.dir, t.skip, shared)) }()
		return r, nil
	}
	in, err := open()
	if err != nil {
		return Content{}, err
	}
	h := sha256.New()
	size, err := io.Copy(h, in)
	if err := errors.Join(err, in.Close()); err != nil {
		return Content{}, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
	blobs := []Blob{{v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: digest, Size: size}, open}}
	for _, hex := range slices.Sorted(maps.Keys(layers)) {
		blobs = append(blobs, layers[hex])
	}
	e.Bytes = t.bytes
	return artifact(e, blobs...)
}

// sumOf is the sha256 of what a reader has, in hex.
func sumOf(in io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, in)
	return hex.EncodeToString(h.Sum(nil)), err
}
