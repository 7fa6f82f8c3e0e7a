// Package settings is the section `libvirt` of a lab file: its fields, their defaults and
// validation, and the URIs of hypervisors. It connects to none of them.
package settings

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Libvirt is the hypervisor of virtual machines, and the resources of each.
type Libvirt struct {
	URI    string     `json:"uri,omitempty"`    // hypervisor on this machine or another; default: $LIBVIRT_DEFAULT_URI, or qemu:///system
	Images string     `json:"images,omitempty"` // directory on the hypervisor for the storage pools of labs
	CPUs   int        `json:"cpus,omitempty" jsonschema:"minimum=1,maximum=64"`
	Memory labs.Size  `json:"memory,omitempty"`
	Disk   labs.Size  `json:"disk,omitempty"` // maximum; the disk is allocated sparsely
	Image  labs.Image `json:"image,omitzero"` // cloud image to boot; default: the Debian disk that netlab builds
}

//go:embed settings.go
var source string

// Section is the section libvirt of a lab file.
func Section() labs.Section {
	return labs.Section{New: func() labs.Settings { return &Libvirt{} }, Source: source}
}

// Fill sets the fields that the file leaves out.
func (l *Libvirt) Fill() {
	if l.Images == "" {
		l.Images = "/var/lib/libvirt/images"
	}
	if l.CPUs == 0 {
		l.CPUs = 2
	}
	if l.Memory == 0 {
		l.Memory = 2 * gib
	}
	if l.Disk == 0 {
		l.Disk = 10 * gib
	}
}

// Traits returns those of virtual machines.
func (l *Libvirt) Traits() labs.Traits {
	t := labs.Traits{OwnKernel: true, Remote: true,
		Summary: fmt.Sprintf("machines of %d CPUs, %s of memory, %s of disk", l.CPUs, l.Memory, l.Disk)}
	if l.Image != (labs.Image{}) {
		t.Summary += ", booting " + l.Image.URL
		t.Image, t.Largest, t.LargestField = l.Image, l.Disk, "disk"
	}
	return t
}

// Place returns the hypervisor of a Node group: its own, or that of the section.
func (l *Libvirt) Place(hypervisor string) (labs.Place, error) {
	if hypervisor == "" && isRemote(l.URI) {
		hypervisor = l.URI
	}
	if hypervisor == "" {
		return labs.Place{}, nil
	}
	h, err := ParseHypervisor(hypervisor)
	if err != nil {
		return labs.Place{}, err
	}
	return labs.Place{Host: h.Host, URI: h.String()}, nil
}

// Read decodes the settings in a plan.
func Read(plan topology.Plan) (l Libvirt, err error) {
	if plan.Settings == nil {
		return l, errors.New("the plan has no libvirt settings")
	}
	if err := json.Unmarshal([]byte(plan.Settings.Data), &l); err != nil {
		return l, fmt.Errorf("the plan's libvirt settings: %w", err)
	}
	return l, nil
}

// Of is Read for a plan that Check or Create has accepted.
func Of(plan topology.Plan) Libvirt {
	l, _ := Read(plan)
	return l
}
