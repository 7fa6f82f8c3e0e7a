// Package libvirttest runs a libvirtd for one test, from Debian's packages: in separate network and
// mount namespaces, with its data in the test's directory, and removed with the test. The machine's
// own libvirt, if any, is not touched.
package libvirttest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/providers/providertest"
)

// startLimit bounds starting and stopping libvirtd.
const startLimit = time.Minute

// Directory has the daemon's locations: Images is the directory of its storage pools, URI is the
// value of LIBVIRT_DEFAULT_URI for netlab.
type Directory struct {
	URI    string
	Images string
}

// daemon runs libvirtd ($2 and following) with separate directories: those it writes to are overlaid
// by a tmpfs. $1 is a directory for that.
const daemon = `set -e
dir=$1; shift
ip link set lo up
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/up" "$dir/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/up,workdir=$dir/work" overlay /etc
for d in lib cache log; do mkdir -p "/var/$d"; mount -t tmpfs tmpfs "/var/$d"; done
mkdir -p /etc/libvirt/qemu /etc/libvirt/storage
# It requires the user of Debian's libvirt-daemon-system, whoever its machines run as.
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
cat >/etc/libvirt/qemu.conf <<EOF
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
max_core = 0
EOF
exec nice -n 5 "$@"
`

// Start runs libvirtd until the test ends and points LIBVIRT_DEFAULT_URI at it. If it
// is not installed the test is skipped, or fails if labs are required.
func Start(t testing.TB) Directory {
	t.Helper()
	d, _ := start(t, "")
	t.Setenv("LIBVIRT_DEFAULT_URI", d.URI)
	return d
}

// start runs libvirtd until the test ends. Its image directory is also mounted at another path, if
// one is given. It returns the process in its namespaces.
func start(t testing.TB, images string) (Directory, int) {
	t.Helper()
	for program, pkg := range map[string]string{"libvirtd": "libvirt-daemon", "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"} {
		if _, err := exec.LookPath(program); err != nil {
			refuse := t.Skipf
			if providertest.Alone() {
				refuse = t.Fatalf
			}
			refuse("%v: needs Debian's %s", err, pkg)
		}
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "libvirt-sock")
	d := Directory{URI: "qemu:///system?socket=" + socket, Images: filepath.Join(dir, "images")}
	for _, sub := range []string{d.Images, filepath.Join(dir, "own")} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "libvirtd.conf")
	text := fmt.Sprintf("unix_sock_dir = %q\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	script := daemon
	if images != "" {
		script = "mount --bind " + shell.Join(d.Images, images) + " || exit\n" + daemon
	}
	cmd := exec.Command("sh", "-c", script, "sh", filepath.Join(dir, "own"), "libvirtd", "--config", config, "--pid-file", filepath.Join(dir, "pid"))
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
			t.Errorf("libvirtd did not exit:\n%s", said())
		}
		if t.Failed() {
			t.Logf("libvirtd said:\n%s", said())
		}
	})
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return d, cmd.Process.Pid
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("libvirtd exited: %v\n%s", err, said())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("libvirtd is not responding: %v\n%s", err, said())
		}
	}
}
