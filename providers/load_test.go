package providers

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
)

// shelf is a Machine whose only program is ctr: it lists files of a directory and keeps
// what it is to import. The first time it is asked it does not answer.
type shelf struct{ dir string }

const ctr = `cd "$0"; [ -e asked ] || { touch asked; exit 1; }
[ "$1 $2" = "ctr --namespace=k8s.io" ]
case "$3 $4" in
"images ls"|"content ls") cat "$3";;
"images import") cat >archive;;
*) exit 1;;
esac`

func (s shelf) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", append([]string{"-ec", ctr, s.dir}, argv...)...)
}
func (s shelf) Dial(context.Context, string) (net.Conn, error) { return nil, errors.New("no sockets") }
func (s shelf) Logs() string                                   { return s.dir }

// A lab that a newer netlab's `up` finds has Nodes made before, and new ones of the artifacts at
// hand: what each lacks is loaded into it, without the layers that it holds.
func TestLoadMissing(t *testing.T) {
	const kept, agent = "example.test/kept:v1", "netlab.dev/agent:new"
	artifacts := components.Artifacts{Images: []string{kept, agent}, Layouts: map[string]string{agent: filepath.Join(t.TempDir(), "agent")}}
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	into, err := layout.Write(artifacts.Layouts[agent], empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := into.AppendImage(image); err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	shared, own := manifest.Layers[0].Digest, manifest.Layers[1].Digest

	running := Running{Machines: map[string]Machine{}}
	add := func(name, kind string, images ...string) shelf {
		s := shelf{t.TempDir()}
		for file, text := range map[string]string{"images": strings.Join(images, "\n"), "content": shared.String() + "\n"} {
			if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		running.Plan.Machines = append(running.Plan.Machines, topology.Machine{Name: name, Kind: kind})
		running.Machines[name] = s
		return s
	}
	old := add("old", topology.KindNode, kept, "netlab.dev/agent:old")
	young := add("young", topology.KindNode, kept, agent)
	host := add("client", topology.KindHost)

	var mu sync.Mutex
	var steps []string
	step := func(name string) func(error) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, name)
		return func(error) {}
	}
	if err := loadMissing(t.Context(), running, artifacts, step); err != nil {
		t.Fatal(err)
	}
	if want := []string{"load into old: " + agent}; !slices.Equal(steps, want) {
		t.Errorf("steps are %q, want %q", steps, want)
	}
	for name, s := range map[string]shelf{"young": young, "client": host} {
		if _, err := os.Stat(filepath.Join(s.dir, "archive")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was given images (%v)", name, err)
		}
	}
	got := names(t, filepath.Join(old.dir, "archive"))
	blob := func(hex string) string { return "blobs/sha256/" + hex }
	if !got["index.json"] || !got[blob(own.Hex)] || !got[blob(manifest.Config.Digest.Hex)] || got[blob(shared.Hex)] {
		t.Errorf("old was given %q; its own layer is %s, the one that it holds %s", slices.Collect(maps.Keys(got)), own, shared)
	}

	artifacts.Images = append(artifacts.Images, "example.test/none:v1")
	if err := loadMissing(t.Context(), running, artifacts, step); err == nil || !strings.Contains(err.Error(), "load images into Node ") {
		t.Errorf("an image that is nowhere: %v", err)
	}
}

func names(t *testing.T, archive string) map[string]bool {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = true
	}
}
