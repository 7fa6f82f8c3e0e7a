package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// tree makes files below a directory: a name that ends with / is a directory, a value
// that begins with -> a link.
func tree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, link := strings.CutPrefix(text, "->"); link {
			err = errors.Join(err, os.Symlink(target, at))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(at, []byte(text), 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// The image's own programs stay, what it lacks comes from the second disk, and a second
// time changes nothing.
func TestInstall(t *testing.T) {
	root := t.TempDir()
	tree(t, root, map[string]string{
		"etc/fstab": "/dev/vda2 / ext4 defaults 0 1", "etc/resolv.conf": "->../run/systemd/resolve/stub-resolv.conf",
		"run/systemd/resolve/stub-resolv.conf": "nameserver 127.0.0.53\n", "etc/netlab/resolv.conf": "nameserver 203.0.113.100\n",
		"usr/sbin/nft": "the image's", "usr/bin/kubelet": "the image's",
		"opt/netlab/etc/containerd/config.toml": "version = 4\n", "opt/netlab/usr/sbin/nft": "", "opt/netlab/usr/sbin/conntrack": "",
		"opt/netlab/usr/local/bin/containerd": "", "opt/netlab/usr/local/bin/netlab": "", "opt/netlab/opt/cni/bin/bridge": "", "opt/cni/bin/theirs": "",
	})
	in := installation{root: root}
	services := []pid1.Service{{Name: "containerd", Env: []string{"GOGC=200"}, Log: "/var/log/containerd.log"}}
	for range 2 {
		if err := errors.Join(in.files(fabric.SysctlConf(topology.Machine{Forward: true}), services), in.links()); err != nil {
			t.Fatal(err)
		}
	}
	if text := content(t, root, "etc/fstab"); text != "/dev/vda2 / ext4 defaults 0 1\n"+strings.Join(mounted, "\n")+"\n" {
		t.Errorf("fstab is\n%s", text)
	}
	if text := content(t, root, "etc/resolv.conf"); text != "nameserver 203.0.113.100\n" {
		t.Errorf("resolv.conf is %s", text)
	}
	if text := content(t, root, "run/systemd/resolve/stub-resolv.conf"); text != "nameserver 127.0.0.53\n" {
		t.Errorf("systemd-resolved's own is %s", text)
	}
	for _, want := range []string{"net/ipv4/ip_forward = 1\n", "net/ipv4/conf/*/rp_filter = 0\n"} {
		if text := content(t, root, "etc/sysctl.d/99-netlab.conf"); !strings.Contains(text, want) {
			t.Errorf("sysctls are\n%s", text)
		}
	}
	for _, want := range []string{"ExecStart=/usr/local/bin/netlab guest service containerd\n", "Environment=\"GOGC=200\"\n", "=append:/var/log/containerd.log\n", "KillMode=process\n"} {
		if text := content(t, root, "etc/systemd/system/containerd.service"); !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for name, want := range map[string]string{
		"usr/local/bin/kubelet": "/usr/lib/netlab/kube", "usr/lib/netlab": "/opt/netlab/usr/lib/netlab",
		"usr/local/bin/containerd": "/opt/netlab/usr/local/bin/containerd", "opt/cni/bin/bridge": "/opt/netlab/opt/cni/bin/bridge",
	} {
		if target, err := os.Readlink(filepath.Join(root, name)); target != want {
			t.Errorf("%s leads to %q, want %q (%v)", name, target, want, err)
		}
	}
	if text := content(t, root, "usr/local/bin/conntrack"); !strings.HasSuffix(text, "exec chroot /opt/netlab conntrack \"$@\"\n") {
		t.Errorf("conntrack is %s", text)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/local/bin/nft")); err == nil {
		t.Error("the image's own nft is hidden")
	}
	if content(t, root, "usr/bin/kubelet") != "the image's" || content(t, root, "opt/cni/bin/theirs") != "" {
		t.Error("the image's own files are changed")
	}
}

// Everything that an image lacks is reported together; its kernel is checked when the image
// has the programs for it.
func TestRequirements(t *testing.T) {
	bare := installation{root: t.TempDir()}
	err := bare.requirements()
	for _, want := range []string{"the image does not run systemd", "the image has cgroup v1", "the image has no modprobe", "the image has no systemctl"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	root := t.TempDir()
	tree(t, root, map[string]string{"run/systemd/system/": "", "sys/fs/cgroup/cgroup.controllers": "cpu", "bin/mount": "", "sbin/modprobe": "", "bin/systemctl": "", "usr/sbin/chroot": ""})
	whole := installation{root: root, run: func(...string) error { return nil }}
	if err := whole.requirements(); err != nil {
		t.Error(err)
	}
	whole.run = func(argv ...string) error {
		if argv[1] == "br_netfilter" {
			return errors.New("not found in directory /lib/modules")
		}
		return nil
	}
	if err := whole.requirements(); err == nil || err.Error() != "the image has a kernel without module br_netfilter: not found in directory /lib/modules" {
		t.Error(err)
	}
}

func TestUnknownService(t *testing.T) {
	if err := service("x"); err == nil {
		t.Error("a service that was not declared")
	}
}
