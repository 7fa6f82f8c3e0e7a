package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is one Node's place on this machine. Its container's Dir is nodes/<name> in the lab's
// state directory.
type node struct {
	local.Container
	machine topology.Machine
}

func nodeOf(lab labs.Name, dir string, m topology.Machine) node {
	return node{local.Container{Lab: lab, Name: m.Name, Dir: filepath.Join(dir, "nodes", m.Name), Logs: filepath.Join(dir, "logs", m.Name)}, m}
}

// prepare lays the Node out on disk: its containerd root cloned from the store, its
// files in the overlay's upper directory.
func (n node) prepare(ctx context.Context, of components.Artifacts, files map[string]kubeadm.File) error {
	// What a killed `up` left of a Node that never ran is of no use.
	if err := os.RemoveAll(n.Dir); err != nil {
		return err
	}
	if err := errors.Join(n.MakeDirs(), os.MkdirAll(n.Path("kubelet"), 0o755)); err != nil {
		return err
	}
	if err := artifacts.Clone(ctx, of.Store, n.Path("containerd")); err != nil {
		return fmt.Errorf("give Node %s its images: %w", n.machine.Name, err)
	}
	return local.WriteFiles(files, func(path string) string {
		if rest, kubelet := strings.CutPrefix(path, "/var/lib/kubelet/"); kubelet {
			return n.Path("kubelet", rest)
		}
		return n.Path("upper", path)
	})
}

// start runs the Node, as the artifacts at hand say: a Node may start again when the cache
// has dropped the netlab that it ran with before.
func (n node) start(ctx context.Context, artifacts components.Artifacts) error {
	return n.Start(ctx, artifacts.Programs["runc"], artifacts.Rootfs, n.spec(artifacts))
}

// remember keeps what the Node was made from, once it runs.
func (n node) remember() error {
	data, err := json.Marshal(n.machine)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.Path("machine.json"), data, 0o644)
}

// recall gives what a Node was made from; false when it never got to run.
func (n node) recall() (topology.Machine, bool) {
	var m topology.Machine
	data, err := os.ReadFile(n.Path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}
