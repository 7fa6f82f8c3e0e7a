// Package dockertest runs a Docker of a test's own, from Debian's docker.io package: in
// a network namespace without a way out, with its data in the test's directory, and
// gone with the test. The machine's own Docker, if it has one, is not touched.
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

// startLimit bounds the start and the end of dockerd.
const startLimit = time.Minute

// Start runs dockerd until the test ends, and points DOCKER_HOST at it. Where Docker is
// not installed the test is skipped, or fails where labs are required.
func Start(t *testing.T) {
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
	args := []string{"dockerd", "--config-file=" + write(t, dir, "daemon.json", "{}", 0o644),
		"--host=unix://" + socket, "--data-root=" + filepath.Join(dir, "data"), "--exec-root=" + filepath.Join(dir, "run"),
		"--pidfile=" + filepath.Join(dir, "pid"), "--cgroup-parent=/" + cgroup}
	if os.Geteuid() == 0 && !hasAll() {
		args = append(args, "--add-runtime=less="+write(t, dir, "runc", withoutResource, 0o755), "--default-runtime=less")
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// What it keeps beside its data goes with its mounts.
	cmd := exec.Command("sh", append([]string{"-ec", `mount -t tmpfs tmpfs /run; [ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker; ip link set lo up; exec "$@"`, "sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text[max(0, len(text)-4000):])
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(startLimit):
			cmd.Process.Kill()
			t.Errorf("dockerd does not end:\n%s", said())
		}
		removeCgroup(t, cgroup)
	})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	deadline := time.Now().Add(startLimit)
	for {
		_, err := command.Run(exec.Command("docker", "version"))
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("dockerd ended: %v\n%s", err, said())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd does not answer: %v\n%s", err, said())
		}
	}
}

// hasAll reports whether this process may hand on the capability that some machines
// withhold from root. Docker asks runc for every one, and runc then fails.
func hasAll() bool {
	for _, c := range local.Capabilities() {
		if c == "CAP_SYS_RESOURCE" {
			return true
		}
	}
	return false
}

// withoutResource stands before runc and takes the capability out of what Docker asks.
const withoutResource = `#!/bin/sh
previous='' files=''
for argument in "$@"; do
	case $previous in
	--bundle) files="$files $argument/config.json" ;;
	--process | -p) files="$files $argument" ;;
	esac
	previous=$argument
done
[ -z "$files" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g' $files
exec runc "$@"
`

func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeCgroup makes Docker's parent cgroup before Docker does, at its first container: a
// lab that brings that container is not what left it.
func makeCgroup(t testing.TB, name string) {
	t.Helper()
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs") // v1, and v2 beside it
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		hierarchies = []string{"/sys/fs/cgroup/cgroup.procs"} // v2 alone
	}
	for _, h := range hierarchies {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(h), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// removeCgroup removes what Docker leaves of its parent cgroup in every hierarchy.
func removeCgroup(t *testing.T, name string) {
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
