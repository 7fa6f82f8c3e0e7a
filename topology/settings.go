package topology

import (
	"bytes"
	"encoding/json"
	"fmt"

	"netlab.dev/netlab/labs"
)

// Settings are the provider's section of the lab file. Only the provider reads Data.
type Settings struct {
	Summary string `json:"summary"` // for messages, such as "machines of 2 CPUs"
	Data    Opaque `json:"data"`
}

// Opaque is compact JSON that is passed on unchanged.
type Opaque string

// MarshalJSON returns the JSON itself, not a string of it.
func (o Opaque) MarshalJSON() ([]byte, error) { return []byte(o), nil }

// UnmarshalJSON accepts any JSON.
func (o *Opaque) UnmarshalJSON(data []byte) error {
	var b bytes.Buffer
	err := json.Compact(&b, data)
	*o = Opaque(b.String())
	return err
}

// CloudImage is a disk image that Nodes boot, downloaded from its publisher; the zero value
// for none.
type CloudImage struct {
	labs.Image
	Largest labs.Size `json:"largest"` // that the disk in it may be
	Field   string    `json:"field"`   // of the lab file that sets Largest, such as libvirt.disk
}

// settings returns the section of the lab's provider, and the image that its Nodes boot.
func settings(lab labs.Lab) (*Settings, CloudImage, error) {
	if lab.Provider != labs.ProviderLibvirt {
		return nil, CloudImage{}, nil
	}
	vm := lab.Libvirt
	data, err := json.Marshal(vm)
	if err != nil {
		return nil, CloudImage{}, fmt.Errorf("settings of provider %s: %w", lab.Provider, err)
	}
	s := &Settings{Summary: fmt.Sprintf("machines of %d CPUs, %s of memory, %s of disk", vm.CPUs, vm.Memory, vm.Disk), Data: Opaque(data)}
	if vm.Image == (labs.Image{}) {
		return s, CloudImage{}, nil
	}
	s.Summary += ", booting " + vm.Image.URL
	return s, CloudImage{Image: vm.Image, Largest: vm.Disk, Field: labs.ProviderLibvirt + ".disk"}, nil
}
