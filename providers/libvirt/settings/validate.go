package settings

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

const maxCPUs = 64

// The minimum that a Node works with: the control plane was measured at about 900 MiB, the
// node image with a lab's images at 2 GiB.
const (
	gib       labs.Size = 1 << 30
	minMemory           = gib
	minDisk             = 4 * gib
)

// Validate reports what libvirt, a Node or its image do not work with.
func (l *Libvirt) Validate(reported func(field string) bool) labs.Problems {
	v := validator{reported: reported}
	if isRemote(l.URI) {
		if _, err := ParseHypervisor(l.URI); err != nil {
			v.add("uri", strings.Join(hint.Of(err), ", "), "%s", err)
		}
	} else if u, err := url.Parse(l.URI); err != nil || l.URI != "" && (u.Scheme != "qemu" || u.Host != "" || u.Path != "/system") {
		v.add("uri", "use qemu:///system or qemu:///system?socket=PATH, or qemu+ssh://host/system for another machine", "%q is not a local libvirt URI", l.URI)
	}
	if !path.IsAbs(l.Images) {
		v.add("images", "for example /var/lib/libvirt/images", "%q is not an absolute path", l.Images)
	}
	if l.CPUs < 1 || l.CPUs > maxCPUs {
		v.add("cpus", "must be between 1 and 64", "%d is out of range", l.CPUs)
	}
	if l.Memory < minMemory && !reported("memory") {
		v.add("memory", "use at least "+minMemory.String(), "%s is too small for a Node", l.Memory)
	}
	if l.Disk < minDisk && !reported("disk") {
		v.add("disk", "use at least "+minDisk.String(), "%s is too small for a Node and its images", l.Disk)
	}
	v.image(l.Image)
	return v.problems
}

// validator collects problems.
type validator struct {
	reported func(field string) bool
	problems labs.Problems
}

func (v *validator) add(field, hint, format string, args ...any) {
	v.problems = append(v.problems, labs.Problem{Field: field, What: fmt.Sprintf(format, args...), Hint: hint})
}

// exampleImage is where Debian publishes one.
const exampleImage = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]*$`)

func (v *validator) image(image labs.Image) {
	if image == (labs.Image{}) {
		return
	}
	const at = "image"
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
