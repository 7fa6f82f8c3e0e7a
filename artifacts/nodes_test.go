package artifacts

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// put writes files of a directory.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A Node's containerd root has databases of its own, and of blobs and snapshots only links into the
// directory that is read-only in the Node; what the Node adds is its own. The lab's images outlive
// the cache's.
func TestNodeRoot(t *testing.T) {
	const meta = "io.containerd.metadata.v1.bolt/meta.db"
	blob, layer := linked[0]+"/0123", linked[1]+"/7/fs/bin/coredns"
	store, lab := filepath.Join(t.TempDir(), "images-key", "root"), t.TempDir()
	put(t, store, map[string]string{meta: "db", blob: "blob", layer: "program"})
	images, err := LabImages(t.Context(), store, lab)
	if err != nil {
		t.Fatal(err)
	}
	if images != filepath.Join(lab, "images", "images-key") {
		t.Errorf("the lab's images are %s", images)
	}
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if again, err := LabImages(t.Context(), store, lab); again != images || err != nil {
		t.Errorf("the second time they are %s (%v)", again, err)
	}
	root := filepath.Join(lab, "nodes", "w1", "containerd")
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := NodeRoot(images, root); err != nil {
		t.Fatal(err)
	}
	for _, rel := range []string{blob, linked[1] + "/7"} {
		if to, err := os.Readlink(filepath.Join(root, rel)); to != filepath.Join(ImagesInside, rel) {
			t.Errorf("%s leads to %q (%v)", rel, to, err)
		}
	}
	put(t, root, map[string]string{meta: "changed", linked[0] + "/4567": "loaded", linked[1] + "/8/fs/x": "written"})
	for rel, want := range map[string]string{meta: "db", blob: "blob", layer: "program"} {
		if is := content(t, filepath.Join(images, rel)); is != want {
			t.Errorf("%s of the lab is %q, want %q", rel, is, want)
		}
	}
	for _, dir := range linked {
		if entries, err := os.ReadDir(filepath.Join(images, dir)); err != nil || len(entries) != 1 {
			t.Errorf("%s has %v (%v)", dir, entries, err)
		}
	}
}

// Nodes write to their lab's directory alone. What a new lab computed reaches the cache as a copy,
// never in the place of what is there, and only regular files do.
func TestLearn(t *testing.T) {
	shared, lab, secret := filepath.Join(t.TempDir(), "cilium-clang"), t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	put(t, filepath.Dir(secret), map[string]string{"shadow": "root:"})
	put(t, shared, map[string]string{"old.o": "old", "known.o": "known"})
	caches := map[string]string{"/var/cache/clang": shared}
	if err := Learn(caches, lab); err != nil {
		t.Errorf("of Nodes without caches: %v", err)
	}
	dirs, err := NodeCaches(caches, lab)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(lab, "caches", "cilium-clang")
	if want := []NodeCache{{own, "/var/cache/clang", false}, {shared, "/var/cache/clang/shared", true}}; !slices.Equal(dirs, want) {
		t.Errorf("a Node sees %v, want %v", dirs, want)
	}
	put(t, own, map[string]string{"new.o": "new", "known.o": "changed", ".half": "half", "dir/x.o": "x"})
	if err := os.Symlink(secret, filepath.Join(own, "link.o")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(own, "fifo.o"), 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-keptEntries - time.Hour)
	for _, name := range []string{"old.o", "known.o"} {
		if err := os.Chtimes(filepath.Join(shared, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := Learn(caches, lab); err != nil {
		t.Fatal(err)
	}
	put(t, own, map[string]string{"new.o": "changed later"})
	got := map[string]string{}
	entries, err := os.ReadDir(shared)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got[e.Name()] = content(t, filepath.Join(shared, e.Name()))
	}
	if len(got) != 2 || got["new.o"] != "new" || got["known.o"] != "known" {
		t.Errorf("the cache has %v", got)
	}
}
