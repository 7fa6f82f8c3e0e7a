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
	Field   string    `json:"field"`   // of the lab file, that sets Largest
}

// settings returns the section of the lab's provider, and the image that its Nodes boot.
func settings(lab labs.Lab) (*Settings, CloudImage, error) {
	section := lab.Sections[lab.Provider]
	if section == nil {
		return nil, CloudImage{}, nil
	}
	data, err := json.Marshal(section)
	if err != nil {
		return nil, CloudImage{}, fmt.Errorf("settings of provider %s: %w", lab.Provider, err)
	}
	traits := section.Traits()
	s := &Settings{Summary: traits.Summary, Data: Opaque(data)}
	if traits.Image == (labs.Image{}) {
		return s, CloudImage{}, nil
	}
	return s, CloudImage{Image: traits.Image, Largest: traits.Largest, Field: lab.Provider + "." + traits.LargestField}, nil
}
