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

// The minimum that a Node works with: the control plane was measured at about 900 MiB, the
// node image with a lab's images at 2 GiB.
const minMemory, minDisk = gib, 4 * gib

func (v *validator) libvirt() {
	l := v.lab.Libvirt
	if IsRemote(l.URI) {
		_, err := ParseHypervisor(l.URI)
		v.refused("libvirt.uri", err)
	} else if u, err := url.Parse(l.URI); err != nil || l.URI != "" && (u.Scheme != "qemu" || u.Host != "" || u.Path != "/system") {
		v.add("libvirt.uri", "use qemu:///system or qemu:///system?socket=PATH, or qemu+ssh://host/system for another machine", "%q is not a local libvirt URI", l.URI)
	}
	if !path.IsAbs(l.Images) {
		v.add("libvirt.images", "for example /var/lib/libvirt/images", "%q is not an absolute path", l.Images)
	}
	if l.CPUs < 1 || l.CPUs > maxCPUs {
		v.add("libvirt.cpus", "must be between 1 and 64", "%d is out of range", l.CPUs)
	}
	if l.Memory < minMemory && !v.reported("libvirt.memory") {
		v.add("libvirt.memory", "use at least "+minMemory.String(), "%s is too small for a Node", l.Memory)
	}
	if l.Disk < minDisk && !v.reported("libvirt.disk") {
		v.add("libvirt.disk", "use at least "+minDisk.String(), "%s is too small for a Node and its images", l.Disk)
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
	case v.reported(at + ".url"):
	case image.URL == "":
		v.add(at+".url", "for example "+exampleImage, "is missing")
	case err != nil || u.Path == "" || u.Opaque != "" || u.Scheme == "file" && u.Host != "",
		u.Scheme != "file" && (u.Host == "" || u.Scheme != "https" && u.Scheme != "http"):
		v.add(at+".url", "for example "+exampleImage+", or file:///images/debian.qcow2", "%q is not the URL of a file", image.URL)
	}
	switch {
	case v.reported(at+".sha256") || v.reported(at+".sha512"):
	case image.SHA256 == "" && image.SHA512 == "":
		v.add(at, "add the sha256 or sha512 that its publisher lists, for example in SHA512SUMS", "image has no checksum")
	case image.SHA256 != "" && image.SHA512 != "":
		v.add(at, "keep one of sha256 and sha512", "image has two checksums")
	}
	for _, sum := range []struct {
		name, text string
		digits     int
	}{{"sha256", image.SHA256, 64}, {"sha512", image.SHA512, 128}} {
		if sum.text != "" && (len(sum.text) != sum.digits || !hexadecimal.MatchString(sum.text)) {
			v.add(at+"."+sum.name, fmt.Sprintf("must have %d hexadecimal digits", sum.digits), "%q is not a %s checksum", sum.text, sum.name)
		}
	}
}

// placed checks the hypervisor of a group's virtual machines.
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
			v.add(at+".hypervisor", "use the same URI for both", "nodes[%d] has another URI for %s: %s", i, o.Host, o)
			break
		}
	}
	if p := v.lab.Provider; p != ProviderLibvirt && !v.reported("provider") {
		v.add(at+".hypervisor", "set provider: "+ProviderLibvirt+", or remove hypervisor", "provider %s runs Nodes on this machine only", p)
	}
}

// refused reports an error of ParseHypervisor.
func (v *validator) refused(field string, err error) {
	if err != nil {
		v.add(field, strings.Join(hint.Of(err), ", "), "%s", err)
	}
}
