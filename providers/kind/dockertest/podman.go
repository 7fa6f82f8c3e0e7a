package dockertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/providertest"
)

// StartPodman gives the test a Podman of its own, from Debian's podman package: it has no
// daemon, so this only points its configuration at the test's directory. Where Podman is
// not installed the test is skipped, or fails where labs are required.
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
	const parent = "libpod_parent" // Podman's own name: it cannot be told another for all containers
	makeCgroup(t, parent)
	runtime := "runc"
	if os.Geteuid() == 0 && !hasAll() {
		runtime = write(t, dir, "runc", withoutResource, 0o755)
	}
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
`, filepath.Join(dir, "static"), filepath.Join(dir, "tmp"), filepath.Join(dir, "volumes"), path(t, runtime)), 0o644))
	t.Setenv("CONTAINERS_STORAGE_CONF", write(t, dir, "storage.conf", fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(dir, "graph"), filepath.Join(dir, "run")), 0o644))
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "podman")
	t.Cleanup(func() {
		// It keeps a mount of its store on itself, and its cgroup while it is nobody else's.
		for unix.Unmount(filepath.Join(dir, "graph", "overlay"), unix.MNT_DETACH) == nil {
		}
		found, _ := filepath.Glob("/sys/fs/cgroup/*/" + parent)
		for _, d := range append(found, "/sys/fs/cgroup/"+parent) {
			unix.Rmdir(d)
		}
	})
}

func path(t testing.TB, program string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
