package libvirt

import (
	"errors"
	"flag"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("differs from %s (%v; run with -update to accept):\n%s", path, err, got)
	}
}

func plan(t *testing.T) topology.Plan {
	t.Helper()
	known := labstest.Known()
	known.Providers, known.Sections = []string{"libvirt"}, map[string]labs.Section{"libvirt": settings.Section()}
	lab := labs.Default(labs.MustName("x"), known)
	lab.Nodes[1].Networks = []string{"lan", "wan"}
	lab.Networks[1].MTU = 9000
	p, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDomainXML(t *testing.T) {
	p := plan(t)
	m, _ := p.Machine("w1")
	for _, kind := range []string{hardware, emulated} {
		v := virtual{name: domainName(labs.MustName("x"), "w1"), kind: kind, size: settings.Of(p), kernel: "/pool/k.kernel", initrd: "/pool/k.initrd",
			disks: []disk{{"/pool/w1.qcow2", "qcow2", false}, {"/pool/w1.seed.iso", "raw", true}}, nics: m.NICs,
			taps: []string{tap(labs.MustName("x"), "w1", "eth0"), tap(labs.MustName("x"), "w1", "eth1")}, console: "/state/console.log"}
		text, err := v.xml()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "domain-"+kind+".xml", text)
	}
	v := virtual{name: domainName(labs.MustName("x"), "w1"), kind: emulated, size: settings.Of(p), disks: []disk{{"/pool/w1.0.qcow2", "qcow2", false},
		{"/pool/w1.0.beside.qcow2", "qcow2", false}, {"/pool/w1.seed.iso", "raw", true}}, console: "/state/console.log"}
	text, err := v.xml()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "domain-image.xml", text)
}

func TestStorageXML(t *testing.T) {
	pool, err := write(poolXML{Type: "dir", Name: poolName(labs.MustName("x")), Path: "/images/" + poolName(labs.MustName("x"))})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := write(volumeXML{Name: "k.root", Capacity: inBytes{"bytes", 4096}, Format: formatXML{"raw"}})
	if err != nil {
		t.Fatal(err)
	}
	over, err := write(volumeXML{Name: "w1.qcow2", Capacity: inBytes{"bytes", 8192}, Format: formatXML{"qcow2"}, Backing: &backingXML{"/images/k.root", formatXML{"raw"}}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "storage.xml", pool+plain+over)
}

// Taps of all labs are in one namespace for a moment.
func TestTapNames(t *testing.T) {
	seen := map[string]bool{}
	for _, lab := range []string{"a", "b", "a-lab-whose-name-has-32-letters1"} {
		for _, node := range []string{"cp", "w1", "a-worker-with-a-long-name-1"} {
			for _, nic := range []string{"eth0", "eth1"} {
				name := tap(labs.MustName(lab), node, nic)
				if seen[name] || len(name) > 15 || name != tap(labs.MustName(lab), node, nic) {
					t.Errorf("tap %s of %s %s %s", name, lab, node, nic)
				}
				seen[name] = true
			}
		}
	}
}

func TestLabOf(t *testing.T) {
	for name, want := range map[string]string{"netlab.a.cp": "a", "netlab.a": "a", "netlab.a.probe.kvm": "a", "other": "", "netlab.": "", "netlab..": "", "netlab.A.cp": "", "netlabs.a": ""} {
		if lab, ours := labOf(name); ours != (want != "") || ours && lab.Label() != want {
			t.Errorf("%s is of lab %q (%t), want %q", name, lab, ours, want)
		}
	}
}

func TestReadKinds(t *testing.T) {
	text, err := os.ReadFile("testdata/capabilities.xml")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readKinds(string(text)); err != nil || !slices.Equal(got, []string{"qemu", "kvm"}) {
		t.Errorf("%v (%v)", got, err)
	}
	if _, err := readKinds("<capabilities>"); err == nil {
		t.Error("half a document is read")
	}
}

// Each reason for no response has its own hint.
func TestUnreachable(t *testing.T) {
	for hint, cause := range map[string]error{
		"apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, or set provider: netns, which needs none": fs.ErrNotExist,
		"run netlab with sudo, or as root":         syscall.EACCES,
		"start it with `systemctl start libvirtd`": syscall.ECONNREFUSED,
		"": syscall.EPIPE,
	} {
		var hinted interface{ Hint() string }
		err := (&hypervisor{uri: "qemu:///system"}).unreachable(cause)
		if errors.As(err, &hinted) != (hint != "") || hint != "" && hinted.Hint() != hint || !strings.Contains(err.Error(), "qemu:///system") {
			t.Errorf("%v: %v", cause, err)
		}
	}
	if err := full(errors.New("write: No space left on device"), "/images"); !errors.As(err, new(interface{ Hint() string })) {
		t.Errorf("a full disk without a hint: %v", err)
	}
	if err := full(syscall.EIO, "/images"); err != syscall.EIO {
		t.Errorf("%v", err)
	}
	missing := filepath.Join(t.TempDir(), "no-socket")
	if _, err := connect(t.Context(), "qemu:///system?socket="+missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket that is not there: %v", err)
	}
	if _, err := connect(t.Context(), "xen:///system"); err == nil {
		t.Error("xen is taken for qemu")
	}
}

// A socket of root's, as another user sees it.
func TestNoPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("requires root, to become another user")
	}
	// What the kernel asks when a file is opened is a thread's.
	socket := filepath.Join(t.TempDir(), "libvirt-sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	_, err = connect(t.Context(), "qemu:///system?socket="+socket)
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		t.Fatal(err)
	}
	var hinted interface{ Hint() string }
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &hinted) || hinted.Hint() != "run netlab with sudo, or as root" {
		t.Errorf("%v", err)
	}
}

// A machine that does not boot shows the end of its console.
func TestConsoleTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(path, []byte("one\r\ntwo\r\nthree\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := tail(path, 2); got != "  two\n  three" {
		t.Errorf("%q", got)
	}
	if got := tail(path+"-not", 2); !strings.Contains(got, "no such file") {
		t.Errorf("%q", got)
	}
}
