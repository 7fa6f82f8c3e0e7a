package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// Bounds of what is held in memory.
const (
	maxText   = 8 << 20 // bytes of the index and of a manifest
	maxMemory = 64 << 20
)

// Reader reads a bundle, once.
type Reader struct {
	Index     Index
	packed    *zstd.Decoder
	tar       *tar.Reader
	oci       v1.IndexManifest
	manifests map[string]v1.Manifest // by digest in hex
}

// Open reads the beginning of a bundle. The caller closes the Reader.
func Open(in io.Reader) (*Reader, error) {
	packed, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(maxMemory), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	r := &Reader{packed: packed, tar: tar.NewReader(packed), manifests: map[string]v1.Manifest{}}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close releases memory.
func (r *Reader) Close() { r.packed.Close() }

func (r *Reader) open() error {
	for _, name := range []string{layoutFile, indexFile} {
		h, err := r.tar.Next()
		if err != nil || h.Name != name {
			return notOne(name, err)
		}
		text, err := readText(r.tar, h.Size)
		if err != nil {
			return damaged(name, err)
		}
		if name == indexFile {
			if err := json.Unmarshal(text, &r.oci); err != nil {
				return damaged(name, err)
			}
		}
	}
	var err error
	r.Index, err = fromOCI(r.oci)
	return err
}

// notOne is the error for a file that does not begin as a bundle does: with a file of that name.
func notOne(name string, err error) error {
	if name == indexFile && err != nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the bundle is truncated: it ends before its index")
	}
	return errors.New("not a netlab bundle")
}

func damaged(what string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the bundle is truncated: it ends in %s", what)
	}
	return fmt.Errorf("the bundle is damaged: %s: %w", what, err)
}

func readText(r io.Reader, size int64) ([]byte, error) {
	if size > maxText {
		return nil, fmt.Errorf("%d bytes are too many", size)
	}
	text := make([]byte, size)
	_, err := io.ReadFull(r, text)
	return text, err
}

// Blobs returns the descriptors of an entry's content: an image's configuration, then its layers; a
// file; the archive of a directory, then the layers that it refers to; of a note none. They are known
// once Read has passed the manifests.
func (r *Reader) Blobs(e Entry) []v1.Descriptor {
	_, name, _ := strings.Cut(e.Digest, ":")
	m := r.manifests[name]
	switch e.Form {
	case FormImage:
		return append([]v1.Descriptor{m.Config}, m.Layers...)
	case FormNote:
		return nil
	}
	return m.Layers
}

// Descriptor returns how the index describes an entry.
func (r *Reader) Descriptor(e Entry) v1.Descriptor {
	for _, d := range r.oci.Manifests {
		if d.Annotations[annotationID] == e.ID {
			return d
		}
	}
	return v1.Descriptor{}
}

// Read reads the rest of a bundle to its end and checks all of it. Every blob of an entry that is
// wanted, its manifest included, is passed to keep with its digest in hex; what keep has received
// is whole only when Read returns nil.
func (r *Reader) Read(wanted func(Entry) bool, keep func(name string, in io.Reader) error) error {
	want, expected := map[string]bool{}, map[string]expectation{}
	for i, d := range r.oci.Manifests {
		e := r.Index.Entries[i]
		expected[d.Digest.Hex] = expectation{e.What, d.Size}
		want[d.Digest.Hex] = want[d.Digest.Hex] || wanted(e)
	}
	for range len(expected) {
		name, err := r.next(expected)
		if err != nil {
			return err
		}
		text, err := readText(r.tar, expected[name].size)
		if err != nil {
			return damaged(expected[name].of, err)
		}
		if err := r.manifest(name, text, expected[name].of); err != nil {
			return err
		}
		delete(expected, name)
		if want[name] {
			if err := keep(name, bytes.NewReader(text)); err != nil {
				return err
			}
		}
	}
	for _, e := range r.Index.Entries {
		switch n := len(r.Blobs(e)); {
		case e.Form == FormFile && n != 1:
			return damaged(e.What, fmt.Errorf("its manifest has %d layers, expected 1", n))
		case e.Form == FormTree && n == 0:
			return damaged(e.What, errors.New("its manifest has no layers"))
		}
		for _, d := range r.all(e) {
			expected[d.Digest.Hex] = expectation{e.What, d.Size}
			want[d.Digest.Hex] = want[d.Digest.Hex] || wanted(e)
		}
	}
	if sum := bytesOf(expected); sum != r.Index.Bytes {
		return damaged("its index", fmt.Errorf("the blobs have %d bytes, expected %d", sum, r.Index.Bytes))
	}
	for range len(expected) {
		name, err := r.next(expected)
		if err != nil {
			return err
		}
		if err := r.blob(name, expected[name].of, want[name], keep); err != nil {
			return err
		}
		delete(expected, name)
	}
	if h, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("%s is not in the index", h.Name)
		}
		return damaged("its end", err)
	}
	_, err := io.Copy(io.Discard, r.packed) // to the checksum of the compressed stream
	if err != nil {
		return damaged("its end", err)
	}
	return nil
}

// all are an entry's blobs with those that only the format requires.
func (r *Reader) all(e Entry) []v1.Descriptor {
	_, name, _ := strings.Cut(e.Digest, ":")
	m := r.manifests[name]
	return append([]v1.Descriptor{m.Config}, m.Layers...)
}

// expectation is a blob that has to come: what it belongs to, and its bytes.
type expectation struct {
	of   string
	size int64
}

func bytesOf(expected map[string]expectation) (sum int64) {
	for _, e := range expected {
		sum += e.size
	}
	return sum
}

// next goes to the next blob, which has to be among those that are expected.
func (r *Reader) next(expected map[string]expectation) (string, error) {
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		for _, e := range expected {
			return "", damaged(e.of, err)
		}
	}
	name, ok := strings.CutPrefix(h.Name, blobsDir)
	e, is := expected[name]
	switch {
	case !ok || !is:
		return "", damaged(h.Name, errors.New("not expected here"))
	case h.Size != e.size:
		return "", damaged(e.of, fmt.Errorf("blob %s has %d bytes, expected %d", name, h.Size, e.size))
	}
	return name, nil
}

func (r *Reader) manifest(name string, text []byte, of string) error {
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != name {
		return damaged(of, fmt.Errorf("blob %s has another digest", name))
	}
	m, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return damaged(of, err)
	}
	r.manifests[name] = *m
	return nil
}

func (r *Reader) blob(name, of string, want bool, keep func(string, io.Reader) error) error {
	h := sha256.New()
	in := &failing{Reader: io.TeeReader(r.tar, h)}
	if want {
		if err := keep(name, in); err != nil && in.err == nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return damaged(of, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != name {
		return damaged(of, fmt.Errorf("blob %s has another digest", name))
	}
	return nil
}

// failing remembers an error of reading, which a writer would otherwise be blamed for.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
