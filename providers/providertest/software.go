package providertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// Netlab builds netlab, which labs run as PID 1 and as agents, and returns its path.
func Netlab(t testing.TB) string {
	t.Helper()
	self := filepath.Join(t.TempDir(), "netlab")
	build := exec.Command("go", "build", "-trimpath", "-o", self, "netlab.dev/netlab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
	return self
}

// Software is the source of the software of test labs: the catalogue and the user's cache.
type Software struct {
	components.Catalog
	artifacts.Cache
}

// Obtain resolves a plan and builds or downloads its software.
func (s Software) Obtain(t testing.TB, plan topology.Plan, step components.Step) (components.Set, components.Artifacts) {
	t.Helper()
	set, err := s.Resolve(plan)
	if err != nil {
		t.Fatal(err)
	}
	obtained, err := s.Cache.Obtain(t.Context(), set, step)
	if err != nil {
		t.Fatal(err)
	}
	return set, obtained
}

// SoftwareOf returns the software for labs with a netlab executable.
func SoftwareOf(t testing.TB, self string) Software {
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
	sources, err := artifacts.SourcesOf(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	registries, err := artifacts.RegistriesOf(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return Software{catalog, artifacts.Cache{Dir: cache, Self: self, Sources: sources, Registries: registries}}
}

// Archive writes an image of a few bytes as `docker save` does.
func Archive(t testing.TB, ref string) string {
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
