package labs

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"netlab.dev/netlab/internal/hint"
)

const maxCPUs = 64

// The least that a Node works with: the control plane was seen to take some 900 MiB, the
// node image with a lab's images 2 GiB.
const minMemory, minDisk = gib, 4 * gib

func (v *validator) libvirt() {
	l := v.lab.Libvirt
	if IsRemote(l.URI) {
		_, err := ParseHypervisor(l.URI)
		v.refused("libvirt.uri", err)
	} else if u, err := url.Parse(l.URI); err != nil || l.URI != "" && (u.Scheme != "qemu" || u.Host != "" || u.Path != "/system") {
		v.add("libvirt.uri", "write qemu:///system, or qemu:///system?socket=PATH; qemu+ssh://host/system for another machine's", "%q is no hypervisor on this machine", l.URI)
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
	v.image()
}

// exampleImage is where Debian publishes one.
const exampleImage = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]*$`)

func (v *validator) image() {
	image := v.lab.Libvirt.Image
	if image == (Image{}) {
		return
	}
	const at = "libvirt.image"
	u, err := url.Parse(image.URL)
	switch {
	case v.told(at + ".url"):
	case image.URL == "":
		v.add(at+".url", "such as "+exampleImage, "is missing")
	case err != nil || u.Path == "" || u.Opaque != "" || u.Scheme == "file" && u.Host != "",
		u.Scheme != "file" && (u.Host == "" || u.Scheme != "https" && u.Scheme != "http"):
		v.add(at+".url", "such as "+exampleImage+", or file:///images/debian.qcow2", "%q is no URL of a file", image.URL)
	}
	switch {
	case v.told(at+".sha256") || v.told(at+".sha512"):
	case image.SHA256 == "" && image.SHA512 == "":
		v.add(at, "add the sha256 or sha512 that its publisher lists, as in a file SHA512SUMS beside it", "there is no checksum of the image")
	case image.SHA256 != "" && image.SHA512 != "":
		v.add(at, "keep one of sha256 and sha512", "there are two checksums of the image")
	}
	for _, sum := range []struct {
		name, text string
		digits     int
	}{{"sha256", image.SHA256, 64}, {"sha512", image.SHA512, 128}} {
		if sum.text != "" && (len(sum.text) != sum.digits || !hexadecimal.MatchString(sum.text)) {
			v.add(at+"."+sum.name, fmt.Sprintf("%d hexadecimal digits", sum.digits), "%q is no checksum of this kind", sum.text)
		}
	}
}

// placed checks where a group's virtual machines are to run.
func (v *validator) placed(at string, g NodeGroup) {
	if g.Hypervisor == "" {
		return
	}
	h, err := ParseHypervisor(g.Hypervisor)
	v.refused(at+".hypervisor", err)
	for i, other := range v.lab.Nodes {
		if at == fmt.Sprintf("nodes[%d]", i) {
			break
		}
		if o, err := ParseHypervisor(other.Hypervisor); err == nil && o.Host == h.Host && o != h {
			v.add(at+".hypervisor", "write both the same", "nodes[%d] reaches %s as %s", i, o.Host, o)
			break
		}
	}
	if p := v.lab.Provider; p != ProviderLibvirt && !v.told("provider") {
		v.add(at+".hypervisor", "set provider: "+ProviderLibvirt+", or leave hypervisor out", "Nodes of provider %s run on this machine alone", p)
	}
}

// refused tells of an error of ParseHypervisor.
func (v *validator) refused(field string, err error) {
	if err != nil {
		v.add(field, strings.Join(hint.Of(err), ", "), "%s", err)
	}
}
