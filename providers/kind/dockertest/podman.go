package dockertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/providertest"
)

// StartPodman sets up a Podman for one test, from Debian's podman package: it has no daemon, so
// this only points its configuration to the test's directory. If Podman is not installed the test
// is skipped, or fails if labs are required.
func StartPodman(t testing.TB) {
	t.Helper()
	for _, program := range []string{"podman", "conmon", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			refuse := t.Skipf
			if providertest.Alone() {
				refuse = t.Fatalf
			}
			refuse("%v: needs Debian's podman", err)
		}
	}
	dir := t.TempDir()
	// Podman's default names: they cannot be configured for all containers.
	const parent, monitors = "libpod_parent", "libpod_parent/conmon"
	makeCgroup(t, monitors)
	script := "#!/bin/sh\nexec runc \"$@\"\n"
	if os.Geteuid() == 0 && !hasAll() {
		script = withoutResource
	}
	// runc would leave /run/runc.
	script = strings.Replace(script, "exec runc ", "exec runc --root="+filepath.Join(dir, "runc-root")+" ", 1)
	t.Setenv("CONTAINERS_CONF", write(t, dir, "containers.conf", fmt.Sprintf(`[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
static_dir = %q
tmp_dir = %q
volume_path = %q
runtime = "less"
[engine.runtimes]
less = [%q]
`, filepath.Join(dir, "static"), filepath.Join(dir, "tmp"), filepath.Join(dir, "volumes"), write(t, dir, "runc", script, 0o755)), 0o644))
	t.Setenv("CONTAINERS_STORAGE_CONF", write(t, dir, "storage.conf", fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(dir, "graph"), filepath.Join(dir, "run")), 0o644))
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "podman")
	t.Cleanup(func() {
		// It keeps a bind mount of its store, and its cgroup if that did not exist before.
		for unix.Unmount(filepath.Join(dir, "graph", "overlay"), unix.MNT_DETACH) == nil {
		}
		for _, name := range []string{monitors, parent} {
			found, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
			for _, d := range append(found, "/sys/fs/cgroup/"+name) {
				unix.Rmdir(d)
			}
		}
	})
}
