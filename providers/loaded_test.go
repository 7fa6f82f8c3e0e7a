package providers

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"netlab.dev/netlab/topology"
)

// store is a Machine whose only program is ctr: a containerd with the images that are listed in
// the file images, which keeps what is imported. If it is full, it imports nothing.
type store struct{ dir string }

const storeCtr = `cd "$0"; [ "$1 $2" = "ctr --namespace=k8s.io" ]
case "$3 $4" in
"images ls") echo "REF TYPE DIGEST SIZE"; cat images;;
"images export") [ "$5" = --local ] || echo "progress"; echo "archive of $7";;
"images import")
	[ ! -e full ] || { echo "write layer: no space left on device" >&2; exit 1; }
	cat >>archive; cat says;;
*) exit 1;;
esac`

func (s store) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", append([]string{"-ec", storeCtr, s.dir}, argv...)...)
}
func (s store) Dial(context.Context, string) (net.Conn, error) { return nil, errors.New("no sockets") }
func (s store) Logs() string                                   { return s.dir }

func (s store) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s store) archive(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "archive"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// stores is a lab of Nodes that are stores.
func stores(t *testing.T, names ...string) (Running, map[string]store) {
	running, all := Running{Machines: map[string]Machine{}}, map[string]store{}
	for _, name := range names {
		s := store{t.TempDir()}
		s.write(t, "images", "")
		s.write(t, "says", "")
		running.Plan.Machines = append(running.Plan.Machines, topology.Machine{Name: name, Kind: topology.KindNode})
		running.Machines[name], all[name] = s, s
	}
	return running, all
}

func noStep(string) func(error) { return func(error) {} }

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// An archive is loaded plain or compressed, and the images that ctr imports are remembered.
func TestLoadImage(t *testing.T) {
	const text = "an archive"
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	zs, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gz, zs} {
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{"app.tar": []byte(text), "app.tar.gz": zipped.Bytes(), "app.tar.zst": packed.Bytes()} {
		running, all := stores(t, "cp", "w1")
		for _, s := range all {
			s.write(t, "says", "unpacking example.test/a:1 ("+digest("a")+")...done\nunpacking example.test/b:1 ("+digest("b")+")...done\n")
		}
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := LoadImage(t.Context(), running, dir, file, noStep); err != nil {
			t.Fatal(err)
		}
		for node, s := range all {
			if got := s.archive(t); got != text {
				t.Errorf("%s: %s imports %q", name, node, got)
			}
		}
		got, err := readLoaded(dir)
		if want := (loadedImages{"example.test/a:1": digest("a"), "example.test/b:1": digest("b")}); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: remembered are %v (%v)", name, got, err)
		}
	}
}

// A Node without room is named.
func TestLoadWithoutRoom(t *testing.T) {
	running, all := stores(t, "cp", "w1")
	all["w1"].write(t, "full", "")
	dir := t.TempDir()
	file := filepath.Join(dir, "app.tar")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := LoadImage(t.Context(), running, dir, file, noStep); err == nil || !strings.HasPrefix(err.Error(), "Node w1 has no room for "+file) {
		t.Errorf("a full Node: %v", err)
	}
}

// What was loaded is copied to Nodes that lack it, or hold another image of that name; what the
// user removed everywhere is not.
func TestLoadAgain(t *testing.T) {
	running, all := stores(t, "cp", "w1", "w2")
	line := func(ref, c string) string { return ref + " application/vnd.oci " + digest(c) + " 1MiB linux/amd64 -\n" }
	all["cp"].write(t, "images", line("example.test/a:1", "a")+line("example.test/b:1", "b"))
	all["w1"].write(t, "images", line("example.test/a:1", "a")+line("example.test/b:1", "c"))
	dir := t.TempDir()
	if err := (loadedImages{"example.test/a:1": digest("a")}).add(dir); err != nil {
		t.Fatal(err)
	}
	if err := (loadedImages{"example.test/b:1": digest("b"), "example.test/gone:1": digest("d")}).add(dir); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	steps := map[string]bool{}
	if err := loadAgain(t.Context(), running, dir, func(name string) func(error) {
		mu.Lock()
		defer mu.Unlock()
		steps[name] = true
		return func(error) {}
	}); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"cp": "", "w1": "archive of example.test/b:1\n", "w2": "archive of example.test/a:1\narchive of example.test/b:1\n"} {
		if got := all[node].archive(t); got != want {
			t.Errorf("%s imports %q, want %q", node, got, want)
		}
	}
	if len(steps) != 3 || !steps["load into w2: example.test/a:1"] {
		t.Errorf("steps are %v", steps)
	}
	all["w2"].write(t, "full", "")
	if err := loadAgain(t.Context(), running, dir, noStep); err == nil || !strings.Contains(err.Error(), "Node w2 has no room for example.test/") {
		t.Errorf("a full Node: %v", err)
	}
	if err := loadAgain(t.Context(), running, t.TempDir(), noStep); err != nil {
		t.Errorf("nothing was loaded: %v", err)
	}
}
