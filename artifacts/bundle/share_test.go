package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program is content that does not compress.
func program(seed byte) []byte {
	text := make([]byte, minShared+int(seed))
	rand.NewChaCha8([32]byte{seed}).Read(text)
	return text
}

// layerWith is a layer of files.
func layerWith(t *testing.T, name string, files map[string][]byte) Content {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range []string{"bin/one", "bin/two"} {
		if text := files[file]; text != nil {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Size: int64(len(text)), Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	is := blobOf("", out.Bytes())
	c, err := NewFile(Entry{ID: "layers/" + name + "-1", What: "layer " + name}, is.Digest, is.Size, is.Open)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// treeWith is a directory of files.
func treeWith(t *testing.T, files map[string][]byte) Content {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return NewTree(Entry{ID: "builds/t-1", What: "build t"}, dir, "")
}

// opened opens the blobs that were read.
func opened(blobs map[string][]byte) func(hex string) (io.ReadCloser, error) {
	return func(hex string) (io.ReadCloser, error) {
		if blobs[hex] == nil {
			return nil, errors.New("no blob " + hex)
		}
		return io.NopCloser(bytes.NewReader(blobs[hex])), nil
	}
}

// What a layer holds is not there a second time in the archive of a directory, and the directory is the
// same when it is read.
func TestShare(t *testing.T) {
	files := map[string][]byte{"shared": program(1), "own": program(2), "small": []byte("small")}
	tree := treeWith(t, files)
	layers := []Content{
		layerWith(t, "a", map[string][]byte{"bin/one": program(1), "bin/two": []byte("small")}),
		layerWith(t, "b", map[string][]byte{"bin/one": program(3), "bin/two": program(1)}),
		layerWith(t, "c", map[string][]byte{"bin/one": program(4)}),
	}
	alone, _ := written(t, []Content{tree})
	without, _ := written(t, layers)
	from := append(layers, tree)
	data, index := written(t, slices.Clone(from))
	if saved := len(alone) + len(without) - len(data); saved < minShared-3000 {
		t.Errorf("%d bytes with the directory, %d without, %d alone", len(data), len(without), len(alone))
	}
	slices.Reverse(from)
	if again, _ := written(t, from); !bytes.Equal(data, again) {
		t.Error("the same contents gave other bytes")
	}

	// The directory alone brings the layer that it refers to.
	r, blobs, err := readAll(data, func(e Entry) bool { return e.Form == FormTree })
	if err != nil {
		t.Fatal(err)
	}
	is := r.Index.Entries[0]
	parts := r.Blobs(is)
	if sum := int64(2*minShared + 3 + len("small")); is.Bytes != sum || len(parts) != 2 || index.Bytes >= 6*minShared {
		t.Errorf("%+v has %d blobs; expected %d bytes, 2 blobs; all of the bundle has %d", is, len(parts), sum, index.Bytes)
	}
	dir := t.TempDir()
	if err := ReadTree(bytes.NewReader(blobs[parts[0].Digest.Hex]), dir, opened(blobs)); err != nil {
		t.Fatal(err)
	}
	var before, after bytes.Buffer
	if err := errors.Join(WriteTree(&before, tree.tree.dir, ""), WriteTree(&after, dir, "")); err != nil || !bytes.Equal(before.Bytes(), after.Bytes()) {
		t.Errorf("the directory was changed on the way (%v)", err)
	}
}

// The first file of a name counts, as it does for a reader.
func TestShareSameName(t *testing.T) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, seed := range []byte{1, 2} {
		text := program(seed)[:minShared]
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/one", Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	is := blobOf("", out.Bytes())
	layer, err := NewFile(Entry{ID: "layers/k-1", What: "layer k"}, is.Digest, is.Size, is.Open)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := written(t, []Content{layer, treeWith(t, map[string][]byte{"second": program(2)[:minShared]})})
	r, blobs, err := readAll(data, all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ReadTree(bytes.NewReader(blobs[r.Blobs(r.Index.Entries[0])[0].Digest.Hex]), dir, opened(blobs)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "second")); err != nil || !bytes.Equal(text, program(2)[:minShared]) {
		t.Errorf("another file of the layer was taken (%v)", err)
	}
}

// A reference to what is not there is an error that says what is missing.
func TestReadTreeDangling(t *testing.T) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{"0a/bin/one": "layer 0a has no file bin/one", "0b/bin/one": "no blob 0b", "": "no blob "} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "one", Linkname: place}), w.Close()); err != nil {
			t.Fatal(err)
		}
		err := ReadTree(&archive, t.TempDir(), opened(map[string][]byte{"0a": layer.Bytes()}))
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: error is %v, want %q", place, err, want)
		}
	}
}
