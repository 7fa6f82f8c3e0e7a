package libvirt

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

// newImageVM is a lab of one virtual machine that boots a cloud image from a server.
func newImageVM(t *testing.T, name string) vms {
	t.Helper()
	providertest.NeedLabs(t)
	image := libvirttest.NewImage(t)
	d := libvirttest.Start(t)
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(image.File))))
	t.Cleanup(server.Close)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := labstest.Known()
	known.Kubernetes, known.Providers = catalog.Known().Kubernetes, []string{"libvirt"}
	known.Sections = map[string]labs.Section{"libvirt": settings.Section()}
	lab := labs.Default(labs.MustName(name), known)
	lab.Networks[1].MTU = 1400
	lab.Nodes = []labs.NodeGroup{{Name: "cp", Role: labs.RoleControlPlane, Networks: []string{"lan", "wan"}}}
	size := sizeIn(lab)
	size.Images, size.CPUs, size.Memory = d.Images, 1, 1<<30
	size.Image = labs.Image{URL: server.URL + "/" + filepath.Base(image.File), SHA512: image.SHA512}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	v := vms{images: d.Images, req: providers.Request{Plan: plan, Dir: filepath.Join(t.TempDir(), plan.Lab.Label()), Step: func(string) func(error) { return func(error) {} }}}
	software := providertest.SoftwareOf(t, providertest.Netlab(t))
	software.Sources = artifacts.AllSources() // the image's server is on loopback, and nothing else of this lab is on any
	_, v.req.Artifacts = software.Obtain(t, plan, v.req.Step)
	// The image has nothing to do in the user's cache.
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(v.req.Artifacts.Disk.Image)) })
	v.delete(t) // what a killed test left
	if v.before, err = residue.Take(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.delete(t) })
	return v
}

// TestCloudImage: a machine boots a cloud image with its own boot loader, kernel and systemd;
// its cloud-init takes the seed and makes it a Node.
func TestCloudImage(t *testing.T) {
	v := newImageVM(t, "nlt-image")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console said:\n%s", tail(filepath.Join(v.req.Dir, "logs", "cp", "console.log"), 100))
		}
	})
	began := time.Now()
	running, _, err := Provider{}.machines(t.Context(), v.req)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the machine runs after %s", time.Since(began).Round(time.Second))
	planned := v.req.Plan.Nodes()[0]
	m := running.Machines["cp"].(Machine)
	// What is the image's, and what is netlab's. One connection asks all: each costs an emulated
	// machine seconds.
	want := map[string][]string{
		"hostname":                                            {"cp\n"},
		"cat /proc/cmdline":                                   {"root=/dev/vda2"},
		"cat /proc/1/comm":                                    {"systemd"},
		"cat /run/cloud-init/status.json":                     {"DataSourceNoCloud [seed=/dev/vdc]"},
		"cat /etc/resolv.conf":                                {"nameserver 203.0.113.100"},
		"cat /proc/sys/net/ipv4/ip_forward":                   {"1\n"},
		"cat /proc/sys/net/ipv4/conf/eth0/rp_filter":          {"0\n"},
		"kubeadm version -o short":                            {v.req.Plan.Kubernetes.Version},
		"systemctl is-active containerd kubelet":              {"active\nactive"},
		"conntrack --version":                                 {"conntrack v"},
		"df --output=size,target --block-size=1G /opt/netlab": {"10 /opt/netlab"},
		"ctr --namespace=k8s.io images list --quiet":          {"registry.k8s.io/pause:"},
		"findmnt -n -o SOURCE /var/lib/containerd":            {"/dev/vdb[/var/lib/containerd]"},
		"ls /etc/kubernetes/pki/ca.key":                       {"ca.key"},
		"ip route":                                            {"default via 172.30.0.1 dev eth0"},
	}
	for _, nic := range planned.NICs {
		want["ip -oneline addr show"] = append(want["ip -oneline addr show"], nic.Name+"    inet "+nic.Address().String())
		line := "ip -oneline link show " + nic.Name
		want[line] = append(want[line], " mtu "+fmt.Sprint(nic.MTU)+" ", "link/ether "+nic.MAC)
	}
	var script strings.Builder
	for line := range want {
		fmt.Fprintf(&script, "echo '== %[1]s'; %[1]s 2>&1\n", line)
	}
	for _, part := range strings.Split("\n"+run(t, m, "sh", "-c", script.String()+"exit 0"), "\n== ")[1:] {
		line, text, _ := strings.Cut(part, "\n")
		for _, w := range want[line] {
			if !strings.Contains(text+"\n", w) {
				t.Errorf("%s says %q, want %q", line, text, w)
			}
		}
		delete(want, line)
	}
	if len(want) > 0 {
		t.Errorf("nothing was said of %v", want)
	}
	conn, err := m.Dial(t.Context(), "/run/containerd/containerd.sock")
	if err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	t.Run("VLAN", func(t *testing.T) { inGuest(t, m, "netlab.dev/netlab/topology/fabric", "TestUplinkVLAN") })
	if err := (Provider{}).Stop(t.Context(), v.req.Plan.Lab, v.req.Dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(v.req.Dir, "logs", "cp", "console.log")); err != nil ||
		!strings.Contains(string(text), "netlab: the machine is ready") || !strings.Contains(string(text), "Power down") {
		t.Errorf("the console says %q (%v)", text[max(0, len(text)-2000):], err)
	}
	v.gone(t)
}

// inGuest runs a test of a package on the kernel of a virtual machine.
func inGuest(t *testing.T, m Machine, pkg, name string) {
	program := filepath.Join(t.TempDir(), "a.test")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
	data, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	cmd := m.Command(t.Context(), "sh", "-c", "cat >/root/a.test && chmod +x /root/a.test && /root/a.test -test.v -test.run '^"+name+"$'")
	cmd.Stdin = data
	out, err := command.Run(cmd)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+name) || strings.Contains(string(out), "the kernel has none") {
		t.Errorf("%v: %s", err, out)
	}
}

// A link with a tap's name is reported; the text is libvirt's.
func TestTaken(t *testing.T) {
	var hinted interface{ Hint() string }
	err := fmt.Errorf("start Node cp: %w", taken(errors.New("make domain netlab.x.cp: Requested operation is not valid: The nl-a5ff16c2ff44 interface already exists"), &hypervisor{}))
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "a link of this name already exists, in libvirt's network namespace") {
		t.Errorf("no hint in %v", err)
	}
	if errors.As(taken(errors.New("make domain netlab.x.cp: unsupported configuration"), &hypervisor{}), &hinted) {
		t.Error("a hint without a link")
	}
}
