package netns

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

func testNode(t *testing.T) node {
	t.Helper()
	return nodeOf(labs.MustName("lab"), t.TempDir(), topology.Machine{Name: "w1"})
}

// A Node gets no capability that this process may not hand on: runc would refuse.
func TestSpecCapabilities(t *testing.T) {
	s := testNode(t).spec(components.Artifacts{Self: "/self"}, nil)
	mask := uint64(0)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, found := strings.CutPrefix(line, "CapBnd:\t"); found {
			if mask, err = strconv.ParseUint(strings.TrimSpace(hex), 16, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, set := range map[string][]string{"bounding": s.Process.Capabilities.Bounding, "effective": s.Process.Capabilities.Effective, "permitted": s.Process.Capabilities.Permitted} {
		// Bits of <linux/capability.h>; SYS_RESOURCE is the one that hosts withhold most.
		for cap, bit := range map[string]int{"CAP_CHOWN": 0, "CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_BPF": 39} {
			if want := mask&(1<<bit) != 0; slices.Contains(set, cap) != want {
				t.Errorf("%s %s: %t, this process may hand it on: %t", name, cap, !want, want)
			}
		}
	}
}

// The Node's root, its databases and logs are its own directories; netlab itself is
// there to be PID 1, and cannot be written to.
func TestSpecMounts(t *testing.T) {
	n := testNode(t)
	images := filepath.Join(filepath.Dir(filepath.Dir(n.Dir)), "images", "key")
	if err := errors.Join(os.MkdirAll(images, 0o755), os.MkdirAll(n.Dir, 0o755), local.Furnish(images, n.Dir)); err != nil {
		t.Fatal(err)
	}
	s := n.spec(components.Artifacts{Self: "/cache/self/netlab"},
		[]artifacts.NodeCache{{Source: "/lab/x", Target: "/var/cache/x"}, {Source: "/cache/x", Target: "/var/cache/x/shared", ReadOnly: true}})
	if s.Root.Path != filepath.Join(n.Dir, "rootfs") || s.Root.Readonly {
		t.Errorf("root is %+v", s.Root)
	}
	got := map[string]specs.Mount{}
	for _, m := range s.Mounts {
		if _, twice := got[m.Destination]; twice {
			t.Errorf("two mounts on %s", m.Destination)
		}
		got[m.Destination] = m
	}
	for to, from := range map[string]string{
		"/var/lib/containerd":  filepath.Join(n.Dir, "containerd"),
		"/var/lib/kubelet":     filepath.Join(n.Dir, "kubelet"),
		"/var/log":             n.Logs,
		s.Process.Args[0]:      "/cache/self/netlab",
		"/var/cache/x":         "/lab/x",
		"/var/cache/x/shared":  "/cache/x",
		artifacts.ImagesInside: images,
	} {
		if m := got[to]; m.Source != from || m.Type != "bind" {
			t.Errorf("%s is %+v, want %s", to, m, from)
		}
	}
	// What is shared with other labs, and nothing else of these.
	for to, shared := range map[string]bool{s.Process.Args[0]: true, artifacts.ImagesInside: true, "/var/cache/x/shared": true, "/var/cache/x": false, "/var/lib/containerd": false} {
		if slices.Contains(got[to].Options, "ro") != shared {
			t.Errorf("%s is read-only: %t, want %t", to, !shared, shared)
		}
	}
	for _, to := range []string{"/dev", "/run", "/tmp"} {
		if got[to].Type != "tmpfs" {
			t.Errorf("%s is %+v, want a tmpfs", to, got[to])
		}
	}
}

func TestSpecNamespaces(t *testing.T) {
	s := testNode(t).spec(components.Artifacts{Self: "/self"}, nil)
	var kinds []string
	for _, ns := range s.Linux.Namespaces {
		kinds = append(kinds, string(ns.Type))
		if want := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "/run/netns/netlab.lab.w1"}[ns.Type]; ns.Path != want {
			t.Errorf("namespace %s is %q, want %q", ns.Type, ns.Path, want)
		}
	}
	slices.Sort(kinds)
	if want := []string{"cgroup", "ipc", "mount", "network", "pid", "uts"}; !slices.Equal(kinds, want) {
		t.Errorf("namespaces are %v, want %v", kinds, want)
	}
	if s.Linux.CgroupsPath != "/netlab/lab/w1" || s.Hostname != "w1" || !slices.Contains(s.Process.Env, "NETLAB_LAB=lab") {
		t.Errorf("cgroup %s, host name %s, environment %v", s.Linux.CgroupsPath, s.Hostname, s.Process.Env)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

// What a Node was made from is known again, and only when it was written whole.
func TestRemember(t *testing.T) {
	n := testNode(t)
	n.machine.Role = topology.RoleWorker
	if _, known := n.recall(); known {
		t.Error("a Node that never ran is known")
	}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.remember(); err != nil {
		t.Fatal(err)
	}
	if m, known := n.recall(); !known || m.Name != "w1" || m.Role != topology.RoleWorker {
		t.Errorf("known again as %+v, %t", m, known)
	}
	if err := os.WriteFile(n.Path("machine.json"), []byte(`{"name": "w1", "ro`), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, known := n.recall(); known {
		t.Errorf("half a file is taken for %+v", m)
	}
}
