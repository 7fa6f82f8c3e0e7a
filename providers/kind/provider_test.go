package kind

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/kind/dockertest"
	"netlab.dev/netlab/providers/providertest"
)

func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	self := netlab(t)
	providertest.Run(t, providertest.Suite{
		Provider: "kind",
		New:      func() providers.Provider { return Provider{} },
		Resolver: resolver(t, self),
		Kill: func(ctx context.Context, lab, _, name string) error {
			there, err := containers(ctx, lab)
			if err != nil {
				return err
			}
			return docker(ctx, nil, "kill", there[name].Name)
		},
	})
}

// TestStrangers: a kind cluster that netlab did not make is refused, not listed, and
// survives the removal of a lab of its name.
func TestStrangers(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	ctx := t.Context()
	const name = "nlt-stranger"
	dir := t.TempDir()
	stock, err := resolver(t, netlab(t)).Obtain(ctx, plan(t, name), func(string) func(error) { return func(error) {} })
	if err != nil {
		t.Fatal(err)
	}
	if err := loadImage(ctx, stock.Node); err != nil {
		t.Fatal(err)
	}
	if err := docker(ctx, nil, "run", "--detach", "--net", "none", "--name", name+"-control-plane", "--label", clusterLabel+"="+name,
		"--label", roleLabel+"=control-plane", "--entrypoint", "sleep", stock.Node.Ref, "1000"); err != nil {
		t.Fatal(err)
	}
	defer remove(context.WithoutCancel(ctx), name+"-control-plane")
	var hinted interface{ Hint() string }
	_, err = Provider{}.Create(ctx, providers.Request{Plan: plan(t, name), Stock: stock, Dir: dir})
	if !errors.As(err, &hinted) || !strings.Contains(err.Error(), "did not make") {
		t.Errorf("create says %v", err)
	}
	if labs, err := (Provider{}).Find(); err != nil || len(labs) > 0 {
		t.Errorf("find gives %v (%v)", labs, err)
	}
	if err := (Provider{}).Delete(ctx, name, dir); err != nil {
		t.Error(err)
	}
	if out, err := command.Run(exec.Command("docker", "ps", "--quiet")); err != nil || len(strings.Fields(string(out))) != 1 {
		t.Errorf("the stranger is gone: %s (%v)", out, err)
	}
}

// TestQuickstart: the ready lab passes every path on kind as on netns, also after
// Docker started a Node again, and kind's own command knows it.
func TestQuickstart(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	self, name := netlab(t), "nlt-kind"
	passes := scenario(t, self, "quickstart", name)
	passes()
	if out, err := command.Run(exec.Command("docker", "restart", "--time=1", name+"-worker")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	passes()

	kind := filepath.Join(t.TempDir(), "kind")
	build := exec.Command("go", "build", "-o", kind, "sigs.k8s.io/kind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) []string {
		out, err := command.Run(exec.Command(kind, args...))
		if err != nil {
			t.Error(err)
		}
		lines := strings.Fields(string(out))
		slices.Sort(lines)
		return lines
	}
	if got := ask("get", "clusters"); !slices.Equal(got, []string{name}) {
		t.Errorf("kind get clusters: %v", got)
	}
	if got, want := ask("get", "nodes", "--name", name), []string{name + "-control-plane", name + "-worker", name + "-worker2"}; !slices.Equal(got, want) {
		t.Errorf("kind get nodes: %v, want %v", got, want)
	}
	ask("load", "image-archive", archive(t, "nlt.test/loaded:1"), "--name", name)
	for _, node := range []string{"cp", "w1", "w2"} {
		out, err := command.Run(exec.Command(self, "exec", name, node, "--", "ctr", "--namespace=k8s.io", "images", "list", "--quiet"))
		if err != nil || !strings.Contains(string(out), "nlt.test/loaded:1\n") {
			t.Errorf("kind load gave Node %s no image: %s (%v)", node, out, err)
		}
	}
	if _, err := command.Run(exec.Command(self, "kubectl", name, "--", "--context", "kind-"+name, "get", "nodes")); err != nil {
		t.Error(err)
	}
}

// archive writes an image of a few bytes as `docker save` does.
func archive(t *testing.T, ref string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCNIs: the ready labs of the other CNIs pass every path on kind too.
func TestCNIs(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	self := netlab(t)
	for _, name := range []string{"calico-vxlan", "cilium-vxlan"} {
		t.Run(name, func(t *testing.T) { scenario(t, self, name, "nlt-"+name)() })
	}
}

// scenario gives a function that makes a ready lab on kind, or mends it, and expects
// every path to pass. The lab goes with the test.
func scenario(t *testing.T, self, from, name string) (passes func()) {
	t.Helper()
	t.Setenv("NETLAB_STATE_DIR", t.TempDir())
	data, err := os.ReadFile("../../scenarios/" + from + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "provider: netns\n", "")
	text = strings.Replace(text, "metadata: {name: "+from+"}\n", "metadata: {name: "+name+"}\nprovider: kind\n", 1)
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := command.Run(exec.Command(self, "down", name)); err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		out, err := command.Run(exec.Command(self, "up", "-o", "json", file))
		if err != nil {
			t.Fatal(err)
		}
		var report struct {
			Provider string
			Summary  struct{ Pass, Fail, Broken int }
		}
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if s := report.Summary; report.Provider != "kind" || s.Pass < 70 || s.Fail+s.Broken > 0 {
			t.Errorf("provider %s, paths: %+v", report.Provider, s)
		}
	}
}

// netlab builds netlab, which labs run as PID 1 and as agents.
func netlab(t *testing.T) string {
	t.Helper()
	self := filepath.Join(t.TempDir(), "netlab")
	build := exec.Command("go", "build", "-trimpath", "-o", self, "netlab.dev/netlab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
	return self
}

// resolver uses the user's cache.
func resolver(t *testing.T, self string) components.Resolver {
	t.Helper()
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("NETLAB_CACHE_DIR")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "netlab")
	}
	return components.Resolver{Catalog: catalog, Cache: cache, Self: self}
}
