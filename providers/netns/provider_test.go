package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	providertest.Run(t, providertest.Suite{
		Provider: "netns",
		New:      func() providers.Provider { return Provider{} },
		Resolver: resolver(t),
		Kill: func(ctx context.Context, lab, dir, name string) error {
			n := nodeOf(lab, dir, topology.Machine{Name: name})
			pid := n.pid()
			if pid == 0 {
				return fmt.Errorf("node %s does not run", name)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return err
			}
			for n.pid() != 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
	})
}

// resolver builds netlab, which labs run as PID 1 and as agents, and uses the user's cache.
func resolver(t *testing.T) components.Resolver {
	t.Helper()
	self := filepath.Join(t.TempDir(), "netlab")
	build := exec.Command("go", "build", "-trimpath", "-o", self, "netlab.dev/netlab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
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
