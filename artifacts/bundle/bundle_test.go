package bundle

import (
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

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/klauspost/compress/zstd"
)

// contents are two images that share a layer, a file, a tree and a note.
func contents(t *testing.T) []Content {
	t.Helper()
	var all []Content
	image, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		c, err := NewImage(Entry{ID: "images/" + name + "-1", What: "image " + name, From: "registry"},
			v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Annotations: map[string]string{"name": name}}, manifest,
			func(hex string) (io.ReadCloser, error) { return blobOfImage(image, hex) })
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	text := []byte(strings.Repeat("a layer ", 100))
	is := blobOf("", text)
	file, err := NewFile(Entry{ID: "layers/k-1", What: "layer k"}, is.Digest, is.Size, is.Open)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin", "one"), []byte("#!one"), 0o700),
		os.Symlink("one", filepath.Join(dir, "bin", "two")), os.WriteFile(filepath.Join(dir, "record.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	tree := NewTree(Entry{ID: "builds/t-1", What: "build t"}, dir, "record.json")
	note, err := NewNote(Entry{ID: "pins/n-1", What: "digest of n"}, "sha256:0")
	if err != nil {
		t.Fatal(err)
	}
	return append(all, file, tree, note)
}

func blobOfImage(image v1.Image, hex string) (io.ReadCloser, error) {
	if name, err := image.ConfigName(); err != nil || name.Hex == hex {
		raw, rawErr := image.RawConfigFile()
		return io.NopCloser(bytes.NewReader(raw)), errors.Join(err, rawErr)
	}
	layer, err := image.LayerByDigest(v1.Hash{Algorithm: "sha256", Hex: hex})
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

func written(t *testing.T, all []Content) ([]byte, Index) {
	t.Helper()
	var out bytes.Buffer
	index, err := Write(&out, Index{Netlab: "v1", Platform: "linux/amd64", Labs: []string{"x", "y"}}, all)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), index
}

// readAll reads a bundle, and returns the blobs of what is wanted, by digest.
func readAll(data []byte, wanted func(Entry) bool) (*Reader, map[string][]byte, error) {
	r, err := Open(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	blobs := map[string][]byte{}
	err = r.Read(wanted, func(name string, in io.Reader) error {
		text, err := io.ReadAll(in)
		if blobs[name] != nil {
			return fmt.Errorf("%s comes twice", name)
		}
		blobs[name] = text
		return err
	})
	return r, blobs, err
}

func all(Entry) bool { return true }

func TestWriteAndRead(t *testing.T) {
	from := contents(t)
	data, index := written(t, from)
	slices.Reverse(from)
	if again, _ := written(t, from); !bytes.Equal(data, again) {
		t.Error("the same contents gave other bytes")
	}
	r, blobs, err := readAll(data, all)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for hex, text := range blobs {
		if _, is := r.manifests[hex]; !is {
			sum += int64(len(text))
		}
	}
	if got := fmt.Sprint(r.Index); got != fmt.Sprint(index) || !strings.HasPrefix(got, fmt.Sprintf("{2 v1 linux/amd64 [x y] %d [{builds/t-1 build t tree ", sum)) {
		t.Errorf("index is %s, written %v", got, index)
	}
	for _, e := range r.Index.Entries {
		var sum int64
		for _, d := range r.all(e) {
			if int64(len(blobs[d.Digest.Hex])) != d.Size {
				t.Errorf("%s: blob %s has %d bytes, described as %d", e.What, d.Digest, len(blobs[d.Digest.Hex]), d.Size)
			}
			sum += d.Size
		}
		if e.Form == FormNote && (e.Value != "sha256:0" || len(r.Blobs(e)) != 0) {
			t.Errorf("note %+v", e)
		}
		if e.Form == FormImage && (e.Bytes != sum || r.Descriptor(e).Annotations["name"] != e.ID[len("images/"):len("images/")+1]) {
			t.Errorf("image %+v holds %d bytes, described as %+v", e, sum, r.Descriptor(e))
		}
	}
	dir := t.TempDir()
	tree := r.Index.Entries[0]
	if err := ReadTree(bytes.NewReader(blobs[r.Blobs(tree)[0].Digest.Hex]), dir, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bin", "two"))
	info, statErr := os.Stat(filepath.Join(dir, "bin", "one"))
	if err != nil || statErr != nil || string(text) != "#!one" || info.Mode() != 0o744 {
		t.Errorf("bin/two holds %q, mode %v (%v)", text, info.Mode(), errors.Join(err, statErr))
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the tree has %v", left)
	}
}

// What is not wanted is checked and not passed on.
func TestReadSome(t *testing.T) {
	data, _ := written(t, contents(t))
	r, blobs, err := readAll(data, func(e Entry) bool { return e.ID == "layers/k-1" })
	if err != nil || len(blobs) != 3 { // its manifest, the empty configuration and the file
		t.Fatalf("%d blobs (%v)", len(blobs), err)
	}
	for _, e := range r.Index.Entries {
		if e.ID == "layers/k-1" && string(blobs[r.Blobs(e)[0].Digest.Hex][:8]) != "a layer " {
			t.Errorf("the file is not there: %v", blobs)
		}
	}
}

// A bundle that ends too early is refused, wherever it ends.
func TestTruncated(t *testing.T) {
	data, _ := written(t, contents(t))
	for at := range len(data) - 1 {
		if _, _, err := readAll(data[:at], all); err == nil {
			t.Fatalf("the first %d of %d bytes are read without an error", at, len(data))
		}
	}
	_, _, err := readAll(data[:len(data)/2], all)
	if err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("error is %v", err)
	}
}

// One altered byte is found, in the file and in what is compressed.
func TestAltered(t *testing.T) {
	data, _ := written(t, contents(t))
	unpacked, err := io.ReadAll(must(zstd.NewReader(bytes.NewReader(data))))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := random.IntN(len(data))
		altered := slices.Clone(data)
		altered[at] ^= 1 << random.IntN(8)
		if _, _, err := readAll(altered, all); err == nil {
			// Some bits of the compression mean nothing.
			if same, _ := io.ReadAll(must(zstd.NewReader(bytes.NewReader(altered)))); !bytes.Equal(same, unpacked) {
				t.Errorf("byte %d of the file was altered without an error", at)
			}
		}
	}
	// In each blob, as somebody would who compresses it again.
	for _, text := range []string{"a layer a layer", "#!one"} {
		altered := bytes.Replace(slices.Clone(unpacked), []byte(text), []byte(strings.ToUpper(text)), 1)
		_, _, err := readAll(compressed(t, altered), all)
		if err == nil || !strings.Contains(err.Error(), "has another digest") {
			t.Errorf("altered %q: error is %v", text, err)
		}
	}
}

func TestNotABundle(t *testing.T) {
	other, _ := written(t, nil)
	unpacked, err := io.ReadAll(must(zstd.NewReader(bytes.NewReader(other))))
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(unpacked, []byte(`"dev.netlab.schemaVersion":"2"`), []byte(`"dev.netlab.schemaVersion":"9"`), 1)
	for want, data := range map[string][]byte{
		"not a netlab bundle": []byte("apiVersion: v1\n"),
		"schema version 9, written by netlab v1; this netlab reads version 2, and both sides need the same netlab": compressed(t, newer),
		"the bundle is truncated": compressed(t, unpacked[:600]),
	} {
		if _, _, err := readAll(data, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// The archive of a tree makes nothing outside its directory.
func TestReadTreeStaysInside(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "way")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "way", "x"), nil, 0o644); err != nil { // as an archive could
		t.Fatal(err)
	}
	var archive bytes.Buffer
	tree := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(tree, "way"), 0o755), os.WriteFile(filepath.Join(tree, "way", "y"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := WriteTree(&archive, tree, ""); err != nil {
		t.Fatal(err)
	}
	err := ReadTree(&archive, dir, nil)
	if _, made := os.Stat(filepath.Join(outside, "y")); err == nil || made == nil {
		t.Errorf("error is %v, made outside: %v", err, made == nil)
	}
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	w := must(zstd.NewWriter(nil))
	return w.EncodeAll(data, nil)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A file of more than one blob is refused: nobody could say which one it is.
func TestOneBlob(t *testing.T) {
	blob := func(text string) Blob { return blobOf("", []byte(text)) }
	c, err := artifact(Entry{ID: "layers/k-1", What: "layer k", Form: FormFile}, blob("one"), blob("two"))
	if err != nil {
		t.Fatal(err)
	}
	data, _ := written(t, []Content{c})
	if _, _, err := readAll(data, all); err == nil || !strings.Contains(err.Error(), "layer k: its manifest has 2 layers, expected 1") {
		t.Errorf("error is %v", err)
	}
}
