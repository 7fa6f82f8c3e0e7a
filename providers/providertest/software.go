package providertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
