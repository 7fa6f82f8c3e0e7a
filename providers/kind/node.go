package kind

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster/constants"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is the files of one Node on this machine.
type node struct {
	lab       labs.Name
	machine   topology.Machine
	dir       string // nodes/<name> in the lab's state directory
	logs      string // logs/<name> there: the Node's /var/log
	container string // its container's name, if known
}

func nodeOf(lab labs.Name, dir string, m topology.Machine) node {
	return node{lab: lab, machine: m, dir: filepath.Join(dir, "nodes", m.Name), logs: filepath.Join(dir, "logs", m.Name)}
}

func (n node) path(elem ...string) string {
	return filepath.Join(append([]string{n.dir}, elem...)...)
}

const (
	// seed is the path in a Node of the files that turn the node image into this Node. The
	// mount also distinguishes netlab's containers from those of other kind clusters.
	seed = "/kind/netlab"
	// plugged is a file in seed that identifies the start of the container that has its NICs.
	plugged = "plugged"
)

// boot is a Node's /sbin/init. kind considers the container booted when it prints the line that
// systemd prints. A restarted container has a new network namespace and waits for its NICs again:
// the namespace's inode number may be reused, but not together with the start time of PID 1
// (proc_pid_stat(5), field 22). Podman mounts volumes with nodev.
const boot = `#!/bin/sh
set -eu
trap 'exit 0' TERM
mount -o remount,suid,exec,dev /var
cp -a ` + seed + `/root/. /
hostname "$(cat /etc/hostname)"
echo 'Reached target Multi-User System.'
start="$(readlink /proc/self/ns/net) $(cut -d ' ' -f 22 /proc/1/stat)"
until [ "$(cat ` + seed + "/" + plugged + ` 2>/dev/null)" = "$start" ]; do sleep 0.05; done
exec /usr/local/bin/netlab init
`

// selfFile, in the lab's state directory, is the netlab executable that its Nodes mount: the mounts
// of a container cannot change, and the cache drops old executables.
const selfFile = "netlab"

// keepSelf provides the executable for the lab's Nodes, by a hard link if possible.
func keepSelf(req providers.Request) error {
	to := filepath.Join(req.Dir, selfFile)
	is, err := os.Stat(req.Artifacts.Self)
	if err != nil {
		return err
	}
	if was, err := os.Stat(to); err == nil && os.SameFile(was, is) {
		return nil
	}
	next := to + ".new"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if os.Link(req.Artifacts.Self, next) != nil { // another file system
		data, err := os.ReadFile(req.Artifacts.Self)
		if err != nil {
			return err
		}
		return atomicfile.Write(to, data, 0o755)
	}
	return os.Rename(next, to)
}

// startOf identifies a start of a container by its PID 1, as boot does.
func startOf(pid int) (string, error) {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return "", err
	}
	stat, err := procfs.Read(pid)
	return space + " " + stat.Start + "\n", err
}

// prepare creates the files that the container mounts.
func (n node) prepare(req providers.Request, ca *kubeadm.Authority, images func() (string, error)) error {
	// Remove what a killed `up` left of a Node that never ran.
	if err := os.RemoveAll(n.dir); err != nil {
		return err
	}
	for _, d := range []string{n.path("seed", "root"), n.logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	files, err := local.Files(req.Plan, n.machine, ca)
	if err != nil {
		return err
	}
	if err := local.WriteFiles(files, func(path string) string { return n.path("seed", "root", path) }); err != nil {
		return err
	}
	if err := os.WriteFile(n.path("seed", "init"), []byte(boot), 0o755); err != nil {
		return err
	}
	from, err := images()
	if err != nil {
		return err
	}
	if err := local.Furnish(from, n.dir); err != nil {
		return err
	}
	data, err := json.Marshal(n.machine)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.path("machine.json"), data, 0o644)
}

// recall returns what a Node was created from; false if that is unknown.
func (n node) recall() (topology.Machine, bool) {
	var m topology.Machine
	data, err := os.ReadFile(n.path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

// mounts are those of the Node's container, which it is created with.
func (n node) mounts(caches []artifacts.NodeCache) []v1alpha4.Mount {
	mounts := []v1alpha4.Mount{
		{HostPath: n.path("seed"), ContainerPath: seed, Readonly: true},
		{HostPath: n.path("seed", "init"), ContainerPath: "/usr/sbin/init", Readonly: true},
		{HostPath: n.path("containerd"), ContainerPath: "/var/lib/containerd"},
		{HostPath: n.logs, ContainerPath: "/var/log"},
		{HostPath: filepath.Join(filepath.Dir(filepath.Dir(n.dir)), selfFile), ContainerPath: "/usr/local/bin/netlab", Readonly: true},
	}
	if images := local.ImagesOf(n.dir); images != "" {
		mounts = append(mounts, v1alpha4.Mount{HostPath: images, ContainerPath: artifacts.ImagesInside, Readonly: true})
	}
	for _, c := range caches {
		mounts = append(mounts, v1alpha4.Mount{HostPath: c.Source, ContainerPath: c.Target, Readonly: c.ReadOnly})
	}
	return mounts
}

func role(m topology.Machine) v1alpha4.NodeRole {
	if m.Role == topology.RoleControlPlane {
		return v1alpha4.ControlPlaneRole
	}
	return v1alpha4.WorkerRole
}

// free returns container names for Nodes that are added later, numbered as kind does.
func free(lab labs.Name, there map[string]container) func(role string) string {
	taken := map[string]bool{}
	for _, c := range there {
		taken[c.Name] = true
	}
	return func(role string) string {
		if role != topology.RoleControlPlane {
			role = constants.WorkerNodeRoleValue
		}
		name := lab.Label() + "-" + role
		for i := 2; taken[name]; i++ {
			name = fmt.Sprintf("%s-%s%d", lab, role, i)
		}
		taken[name] = true
		return name
	}
}

// runArgs are docker's arguments for a Node that is added to an existing cluster, which kind does
// not support. They are the same as kind's for a new cluster.
func (n node) runArgs(name string, req providers.Request, caches []artifacts.NodeCache) []string {
	args := []string{"run", "--detach", "--tty", "--name", name, "--hostname", name,
		"--label", clusterLabel + "=" + n.lab.Label(), "--label", roleLabel + "=" + string(role(n.machine)),
		"--net", "none", "--restart=on-failure:1", "--init=false", "--cgroupns=private",
		"--privileged", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--volume", "/lib/modules:/lib/modules:ro"}
	for _, m := range n.mounts(caches) {
		volume := []string{m.HostPath, m.ContainerPath}
		if m.Readonly {
			volume = append(volume, "ro")
		}
		args = append(args, "--volume", strings.Join(volume, ":"))
	}
	if n.machine.Role == topology.RoleControlPlane {
		args = append(args, "--env", "KUBECONFIG=/etc/kubernetes/admin.conf")
	}
	return append(args, req.Artifacts.Node.Ref)
}
