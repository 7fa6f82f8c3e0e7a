package netns

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/local"
)

// spec is the container's spec plus what a container runtime inside a Node requires.
func (n node) spec(of components.Artifacts, caches []artifacts.NodeCache) *specs.Spec {
	spec := n.Spec(of.Self)
	spec.Mounts = append(spec.Mounts,
		// Container runtimes mount overlays on these: they must not be on an overlay themselves.
		local.Bind(n.Path("containerd"), "/var/lib/containerd"),
		local.Bind(n.Path("kubelet"), "/var/lib/kubelet"))
	spec.Linux.RootfsPropagation = "rshared" // mounts of kubelet and CNI propagate to Pods
	spec.Linux.Devices = append(spec.Linux.Devices,
		specs.LinuxDevice{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}, // kubelet reads it for OOM kills
		specs.LinuxDevice{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229})
	if images := local.ImagesOf(n.Dir); images != "" {
		spec.Mounts = append(spec.Mounts, local.Bind(images, artifacts.ImagesInside, "ro"))
	}
	for _, c := range caches {
		var options []string
		if c.ReadOnly {
			options = []string{"ro"}
		}
		spec.Mounts = append(spec.Mounts, local.Bind(c.Source, c.Target, options...))
	}
	// Pinned objects are removed with the Node.
	if local.KernelMounts("bpf") {
		spec.Mounts = append(spec.Mounts, specs.Mount{Type: "bpf", Source: "bpf", Destination: "/sys/fs/bpf",
			Options: []string{"nosuid", "nodev", "noexec", "mode=700"}})
	}
	return spec
}
