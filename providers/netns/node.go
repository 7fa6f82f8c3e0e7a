package netns

import (
	"context"
	"encoding/json"
	"errors"
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

// node is the files of one Node on this machine. Its container's Dir is nodes/<name> in the lab's
// state directory.
type node struct {
	local.Container
	machine topology.Machine
}

func nodeOf(lab labs.Name, dir string, m topology.Machine) node {
	return node{local.Container{Lab: lab, Name: m.Name, Dir: filepath.Join(dir, "nodes", m.Name), Logs: filepath.Join(dir, "logs", m.Name)}, m}
}

// prepare creates the Node's files: its containerd root, of the lab's images, and its own files in
// the overlay's upper directory.
func (n node) prepare(images string, files map[string]kubeadm.File) error {
	// Remove what a killed `up` left of a Node that never ran.
	if err := os.RemoveAll(n.Dir); err != nil {
		return err
	}
	if err := errors.Join(n.MakeDirs(), os.MkdirAll(n.Path("kubelet"), 0o755)); err != nil {
		return err
	}
	if err := local.Furnish(images, n.Dir); err != nil {
		return err
	}
	return local.WriteFiles(files, func(path string) string {
		if rest, kubelet := strings.CutPrefix(path, "/var/lib/kubelet/"); kubelet {
			return n.Path("kubelet", rest)
		}
		return n.Path("upper", path)
	})
}

// start starts the Node with the current artifacts: the cache may have dropped the netlab
// executable that it was created with.
func (n node) start(ctx context.Context, of components.Artifacts) error {
	caches, err := artifacts.NodeCaches(of.Caches, filepath.Dir(filepath.Dir(n.Dir)))
	if err != nil {
		return err
	}
	return n.Start(ctx, of.Programs["runc"], of.Rootfs, n.spec(of, caches))
}

// remember records what the Node was created from, once it is running.
func (n node) remember() error {
	data, err := json.Marshal(n.machine)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.Path("machine.json"), data, 0o644)
}

// recall returns what a Node was created from; false if it never ran.
func (n node) recall() (topology.Machine, bool) {
	var m topology.Machine
	data, err := os.ReadFile(n.Path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}
