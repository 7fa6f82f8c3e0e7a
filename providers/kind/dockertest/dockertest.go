// Package dockertest runs a Docker for one test, from Debian's docker.io package: in a network
// namespace without external routes, with its data in the test's directory, and removed with the
// test. The machine's own Docker, if any, is not touched. It does the same with Podman.
package dockertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/providers/providertest"
)

// startLimit bounds starting and stopping dockerd.
const startLimit = time.Minute

// Docker is a running dockerd.
type Docker struct {
	args  []string
	log   string
	cmd   *exec.Cmd
	ended chan error
}

// Start runs dockerd until the test ends, and points DOCKER_HOST at it. If Docker is
// not installed the test is skipped, or fails if labs are required.
func Start(t testing.TB) *Docker {
	t.Helper()
	for _, program := range []string{"dockerd", "docker", "containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			refuse := t.Skipf
			if providertest.Alone() {
				refuse = t.Fatalf
			}
			refuse("%v: needs Debian's docker.io", err)
		}
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "docker.sock")
	cgroup := fmt.Sprintf("nlt-docker-%d", os.Getpid())
	makeCgroup(t, cgroup)
	d := &Docker{log: filepath.Join(dir, "log"), args: []string{"dockerd", "--config-file=" + write(t, dir, "daemon.json", "{}", 0o644),
		"--host=unix://" + socket, "--data-root=" + filepath.Join(dir, "data"), "--exec-root=" + filepath.Join(dir, "run"),
		"--pidfile=" + filepath.Join(dir, "pid"), "--cgroup-parent=/" + cgroup}}
	if os.Geteuid() == 0 && !hasAll() {
		d.args = append(d.args, "--add-runtime=less="+write(t, dir, "runc", withoutResource, 0o755), "--default-runtime=less")
	}
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "docker")
	t.Cleanup(func() {
		d.stop(t)
		removeCgroup(t, cgroup)
	})
	d.start(t)
	return d
}

// Restart stops dockerd and all its containers, and starts it again.
func (d *Docker) Restart(t testing.TB) {
	t.Helper()
	d.stop(t)
	d.start(t)
}

func (d *Docker) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// Everything outside its data directory is removed with its mounts.
	d.cmd = exec.Command("sh", append([]string{"-ec", `mount -t tmpfs tmpfs /run; [ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker; ip link set lo up; exec "$@"`, "sh"}, d.args...)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	d.ended = ended
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(d.cmd)
	deadline := time.Now().Add(startLimit)
	for {
		_, err := command.Run(exec.Command("docker", "version"))
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("dockerd exited: %v\n%s", err, d.said())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd is not responding: %v\n%s", err, d.said())
		}
	}
}

func (d *Docker) stop(t testing.TB) {
	t.Helper()
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(startLimit):
		d.cmd.Process.Kill()
		t.Errorf("dockerd did not exit:\n%s", d.said())
	}
	d.cmd = nil
}

// said is the end of dockerd's log.
func (d *Docker) said() string {
	text, _ := os.ReadFile(d.log)
	return string(text[max(0, len(text)-4000):])
}

// hasAll reports whether this process has CAP_SYS_RESOURCE, which some machines drop from root.
// Docker requests all capabilities, and runc then fails.
func hasAll() bool {
	for _, c := range local.Capabilities() {
		if c == "CAP_SYS_RESOURCE" {
			return true
		}
	}
	return false
}

// withoutResource wraps runc. It removes the capability from Docker's requests, and the limits,
// which require it too, from Podman's.
const withoutResource = `#!/bin/sh
previous='' files=''
for argument in "$@"; do
	case $previous in
	--bundle) files="$files $argument/config.json" ;;
	--process | -p) files="$files $argument" ;;
	esac
	previous=$argument
done
[ -z "$files" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g; s/,"rlimits":\[[^]]*\]//g' $files
exec runc "$@"
`

func write(t testing.TB, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeCgroup creates Docker's parent cgroup before Docker does with its first container, so that it
// is not taken for a leftover of the lab.
func makeCgroup(t testing.TB, name string) {
	t.Helper()
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs") // v1, and v2 in hybrid mode
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		hierarchies = []string{"/sys/fs/cgroup/cgroup.procs"} // v2 alone
	}
	for _, h := range hierarchies {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(h), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// removeCgroup removes Docker's parent cgroup from every hierarchy.
func removeCgroup(t testing.TB, name string) {
	t.Helper()
	found, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, top := range append(found, "/sys/fs/cgroup/"+name) {
		var dirs []string
		filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				t.Errorf("remove cgroup %s: %v", strings.TrimPrefix(dirs[i], "/sys/fs/cgroup"), err)
			}
		}
	}
}
