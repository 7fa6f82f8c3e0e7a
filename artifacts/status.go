package artifacts

import (
	"fmt"
	"slices"

	"netlab.dev/netlab/components"
)

// Status is one component as `netlab components` shows it.
type Status struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Version string   `json:"version"`
	About   string   `json:"about"`
	Source  string   `json:"source"`
	Images  []string `json:"images,omitempty"`
	// Cached: everything that is made for it is in the cache.
	Cached bool `json:"cached"`
	// From lists the sources of what is cached.
	From []string `json:"from,omitempty"`
	// Seconds that making it took, and Bytes that it holds, of what is cached. What
	// several components share counts for the one that names it.
	Seconds float64  `json:"seconds"`
	Bytes   int64    `json:"bytes"`
	Lacks   []string `json:"lacks,omitempty"`
	Notice  string   `json:"notice,omitempty"`
}

// Status returns every version of every component, by name: what is pinned, what is cached and
// where it came from. It makes nothing.
func (c Cache) Status(catalog components.Catalog) ([]Status, error) {
	o := obtaining{Cache: c}
	var err error
	if o.selfHash, _, err = hashFile(c.Self); err != nil {
		return nil, err
	}
	parts, sets := catalog.Sets()
	all := make([]Status, len(parts))
	for n, k := range parts {
		o.set = sets[n]
		if all[n], err = o.status(k); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (o obtaining) status(k components.Component) (Status, error) {
	s := Status{Name: k.Name, Kind: k.Kind, Version: k.Version, About: k.About, Source: k.Source,
		Cached: true, Lacks: k.Lacks, Notice: k.Notice}
	items, err := o.items(k)
	if err != nil {
		return s, err
	}
	for _, i := range items {
		rec, ok := o.have(i)
		s.Cached = s.Cached && ok
		if !ok {
			continue
		}
		if i.kind != inImages { // its bytes are the layers'
			s.Seconds += rec.Seconds
			s.Bytes += rec.Bytes
		}
		if !slices.Contains(s.From, rec.From) {
			s.From = append(s.From, rec.From)
		}
	}
	if err := o.optional(k, &s); err != nil {
		return s, err
	}
	for _, i := range k.Images {
		ref := o.picture(k, i).ref
		if i.Over != nil {
			ref = o.upstream(k, *i.Over).ref
		}
		s.Images = append(s.Images, ref)
	}
	if k.Self() {
		s.Version = o.selfHash[:12]
	}
	return s, nil
}

// optional adds the state of a component's optional images.
func (o obtaining) optional(k components.Component, s *Status) error {
	s.Lacks = slices.Clone(s.Lacks)
	for _, image := range k.Images {
		if image.Over != nil {
			s.From = append(s.From, o.pulled(k, *image.Over)...)
		}
		if image.Optional == "" {
			continue
		}
		p := o.picture(k, image)
		i, err := o.imageItem(p)
		if err != nil {
			return err
		}
		rec, ok := o.have(i)
		if !ok {
			s.Lacks = append(s.Lacks, fmt.Sprintf("%s, unless %s is pulled", image.Without, p.ref))
			continue
		}
		s.From = append(s.From, rec.From)
		s.Seconds += rec.Seconds
		s.Bytes += rec.Bytes
	}
	return nil
}

// items are the cache entries that a component requires.
func (o obtaining) items(k components.Component) ([]item, error) {
	var all []item
	for _, b := range k.Builds {
		i, err := made{k, b}.item()
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	for _, l := range k.Layers {
		i, err := o.layerItem(k.Name + "/" + l.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	for _, image := range k.Images {
		if image.Optional != "" || image.Over != nil {
			continue
		}
		i, err := o.imageItem(o.picture(k, image))
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	if k.Self() && len(all) == 0 { // it is netlab itself
		all = append(all, item{inSelf, "netlab", o.selfHash[:min(16, len(o.selfHash))]})
	}
	return all, nil
}
