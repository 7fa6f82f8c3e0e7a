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

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/command"
)

// Netlab builds netlab, which labs run as PID 1 and as agents, and gives its path.
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

// Resolver obtains software for labs of a netlab executable, in the user's cache.
func Resolver(t testing.TB, self string) components.Resolver {
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
	return components.Resolver{Catalog: catalog, Cache: cache, Self: self, Offline: os.Getenv("NETLAB_OFFLINE") != ""}
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
