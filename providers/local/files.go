package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology"
)

// Files returns the files, by their absolute path in a Node, that turn the node image into this
// Node: kubeadm.NodeFiles, the services of its PID 1, its names and its DNS.
func Files(plan topology.Plan, m topology.Machine, ca *kubeadm.Authority) (map[string]kubeadm.File, error) {
	limits, scores := kubeadm.Limits{CgroupV1: cgroupV1()}, mayRaiseScores()
	if m.OwnKernel { // it has its own kernel
		limits, scores = kubeadm.Limits{}, true
	}
	files, err := kubeadm.NodeFiles(plan, m, ca, limits)
	if err != nil {
		return nil, err
	}
	// CoreDNS does not start without a nameserver to forward to. In a lab without an
	// internet host it is the Node itself, where nothing listens.
	resolv := "nameserver " + m.Address().String() + "\n"
	if m.Nameserver().IsValid() {
		resolv = "nameserver " + m.Nameserver().String() + "\n"
	}
	services, err := json.MarshalIndent(nodeServices(plan, m), "", "  ")
	if err != nil {
		return nil, err
	}
	for path, text := range map[string]string{
		"/etc/hostname":    m.Name + "\n",
		"/etc/hosts":       hostsFile(plan),
		"/etc/resolv.conf": resolv,
		pid1.ServicesFile:  string(services),
		"/etc/containerd/conf.d/netlab.toml": fmt.Sprintf(
			"version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = %t\n", !scores),
	} {
		files[path] = kubeadm.File{Data: []byte(text), Mode: 0o644}
	}
	return files, nil
}

// WriteFiles writes a Node's files to the paths on this machine that place returns.
func WriteFiles(files map[string]kubeadm.File, place func(path string) string) error {
	for path, f := range files {
		to := place(path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, f.Data, os.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	return nil
}

func nodeServices(plan topology.Plan, m topology.Machine) []pid1.Service {
	const socket = "/run/containerd/containerd.sock"
	services := []pid1.Service{
		{Name: "containerd", Argv: []string{"/usr/local/bin/containerd"}, Log: "/var/log/containerd.log"},
		{Name: "kubelet", After: socket, Log: "/var/log/kubelet.log", Argv: []string{"/usr/bin/kubelet",
			"--config=/var/lib/kubelet/config.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf",
			"--hostname-override=" + m.Name, "--node-ip=" + m.Address().String()}},
	}
	for i := range services {
		services[i].Env = []string{kubeadm.LessCollecting}
	}
	if plan.Capabilities.Emulated {
		services[1].Argv = append(services[1].Argv, "--housekeeping-interval=60s") // of cgroup statistics
		if m.Role == topology.RoleWorker {
			// Requests of waiting kubelets slow down the start of an emulated API server.
			services[1].AfterURL, services[1].CA = "https://"+plan.Kubernetes.API.String()+"/readyz", "/etc/kubernetes/pki/ca.crt"
		}
	}
	return services
}

// cgroupV1 reports whether the machine's controllers are on cgroup v1.
func cgroupV1() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err != nil
}

// capabilities by their number, from <linux/capability.h>.
var capabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// Capabilities lists the capabilities that this process can pass on. Some hosts drop one
// (CAP_SYS_RESOURCE in many containers), and runc fails if it is requested.
func Capabilities() []string {
	status, _ := os.ReadFile("/proc/self/status")
	var names []string
	for line := range strings.Lines(string(status)) {
		hex, found := strings.CutPrefix(line, "CapBnd:")
		if !found {
			continue
		}
		mask, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		for bit, name := range capabilities {
			if mask&(1<<bit) != 0 {
				names = append(names, "CAP_"+name)
			}
		}
	}
	return names
}

// mayRaiseScores reports whether this process is allowed to lower OOM scores.
func mayRaiseScores() bool {
	for _, c := range Capabilities() {
		if c == "CAP_SYS_RESOURCE" {
			return true
		}
	}
	return false
}

// hostsFile names every machine of the lab, so that Nodes find each other without DNS.
func hostsFile(plan topology.Plan) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, m := range plan.Machines {
		b.WriteString(m.Address().String() + " " + m.Name + "\n")
	}
	return b.String()
}
