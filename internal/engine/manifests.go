package engine

import (
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/providers"
)

// Manifests are the user's own objects of a lab, as its file lists them.
type Manifests struct {
	Sources []manifests.Source
	Lacking []manifests.Image // that the lab has not, as far as its software and what was loaded say
}

// Manifests reads the user's own objects.
func (e Engine) Manifests(set components.Set, file string) (m Manifests, err error) {
	if m.Sources, err = manifests.Read(file, set.Plan.Manifests, set.Plan.Kubernetes.Version); err != nil {
		return m, err
	}
	has, err := providers.Loaded(e.Root.Dir(set.Plan.Lab))
	if err != nil {
		return m, err
	}
	for _, k := range set.Selected() {
		has = append(has, k.Images...)
	}
	m.Lacking = manifests.Lacking(m.Sources, has)
	return m, nil
}

// Objects lists sources and what they hold.
func (m Manifests) Objects() (rows [][2]string) {
	for _, s := range m.Sources {
		name := s.Name
		for _, o := range s.Objects {
			rows = append(rows, [2]string{name, manifests.Called(o)})
			name = ""
		}
	}
	return rows
}

// Notes are what the user is to do about images that the lab has not.
func (m Manifests) Notes(lab string) (notes []string) {
	for _, i := range m.Lacking {
		notes = append(notes, i.Why(lab))
	}
	return notes
}
