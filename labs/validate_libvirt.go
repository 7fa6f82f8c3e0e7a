package labs

import (
	"net/url"
	"path"
)

const maxCPUs = 64

// The least that a Node works with: the control plane was seen to take some 900 MiB, the
// node image with a lab's images 2 GiB.
const minMemory, minDisk = gib, 4 * gib

func (v *validator) libvirt() {
	l := v.lab.Libvirt
	if u, err := url.Parse(l.URI); err != nil || l.URI != "" && (u.Scheme != "qemu" || u.Host != "" || u.Path != "/system") {
		v.add("libvirt.uri", "write qemu:///system, or qemu:///system?socket=PATH", "%q is no hypervisor on this machine", l.URI)
	}
	if !path.IsAbs(l.Images) {
		v.add("libvirt.images", "such as /var/lib/libvirt/images", "%q is no absolute path", l.Images)
	}
	if l.CPUs < 1 || l.CPUs > maxCPUs {
		v.add("libvirt.cpus", "from 1 to 64", "%d is out of range", l.CPUs)
	}
	if l.Memory < minMemory && !v.told("libvirt.memory") {
		v.add("libvirt.memory", "give it "+minMemory.String()+" at least", "%s is too little for a Node", l.Memory)
	}
	if l.Disk < minDisk && !v.told("libvirt.disk") {
		v.add("libvirt.disk", "give it "+minDisk.String()+" at least", "%s is too little for a Node and its images", l.Disk)
	}
}
