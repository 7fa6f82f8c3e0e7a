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
	// Could lists the sources that all of its Artifacts together may come from, as NETLAB_SOURCES
	// has them. A bundle may hold any.
	Could     []string   `json:"could,omitempty"`
	Artifacts []Artifact `json:"artifacts,omitempty"`
	// Seconds that making it took, and Bytes that it holds, of what is cached. What
	// several components share counts for the one that names it.
	Seconds float64  `json:"seconds"`
	Bytes   int64    `json:"bytes"`
	Lacks   []string `json:"lacks,omitempty"`
	// Differs is what is set differently from upstream.
	Differs []components.Difference `json:"differs,omitempty"`
	Notice  string                  `json:"notice,omitempty"`
}

// Artifact is one thing that a component is made of or installed from.
type Artifact struct {
	What  string   `json:"what"`
	From  string   `json:"from,omitempty"`  // the source of the cached one
	Could []string `json:"could,omitempty"` // the sources that it may come from, the first asked first
	// Seconds that making the cached one took, and Bytes that it holds.
	Seconds float64 `json:"seconds,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`
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
		Cached: true, Lacks: k.Lacks, Differs: k.Differs, Notice: k.Notice}
	all, err := o.entries(k)
	if err != nil {
		return s, err
	}
	for _, e := range all {
		i := e.item
		rec, ok := o.have(i)
		s.Cached = s.Cached && ok
		s.Artifacts = append(s.Artifacts, Artifact{e.what, rec.From, e.could, rec.Seconds, rec.Bytes})
		for _, source := range e.could {
			if !slices.Contains(s.Could, source) {
				s.Could = append(s.Could, source)
			}
		}
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
			s.From = append(s.From, o.pulledFrom(k, *image.Over)...)
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

// entry is an entry of the cache that a component requires.
type entry struct {
	item
	what  string
	could []string
}

// entries are those that a component requires: what images are made of only where an image is
// neither cached nor to be pulled.
func (o obtaining) entries(k components.Component) ([]entry, error) {
	var images, all []entry
	whole := k.Chosen() && len(k.Images) > 0
	for _, image := range k.Images {
		if image.Optional != "" || image.Over != nil {
			continue
		}
		p := o.picture(k, image)
		i, err := o.imageItem(p)
		if err != nil {
			return nil, err
		}
		_, cached := o.have(i)
		whole = whole && cached
		images = append(images, entry{i, whatImage + p.ref, o.couldPull(p)})
	}
	if !whole {
		made, err := o.madeOf(k)
		if err != nil {
			return nil, err
		}
		all = made
	}
	all = append(all, images...)
	for _, ref := range k.Copies() {
		of, b, _, err := o.set.Copied(ref)
		if err != nil {
			return nil, err
		}
		m := made{of, b}
		if e := (entry{m.filesItem(), m.whatFiles(), []string{fromModule}}); !slices.ContainsFunc(all, func(other entry) bool { return other.item == e.item }) {
			all = append(all, e)
		}
	}
	if k.Self() && len(all) == 0 { // it is netlab itself
		all = append(all, entry{item{inSelf, "netlab", o.selfHash[:min(16, len(o.selfHash))]}, "netlab", nil})
	}
	return all, nil
}

// madeOf are the builds and layers of a component.
func (o obtaining) madeOf(k components.Component) ([]entry, error) {
	var all []entry
	for _, b := range k.Builds {
		if len(b.Packages) == 0 {
			continue // it has only files
		}
		m := made{k, b}
		i, err := m.item()
		if err != nil {
			return nil, err
		}
		all = append(all, entry{i, m.what(), o.couldHold(m)})
	}
	for _, l := range k.Layers {
		i, err := o.layerItem(k.Name + "/" + l.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{i, whatLayer + k.Name + "/" + l.Name, o.may(Build)})
	}
	return all, nil
}

// may is a source, if it may be asked.
func (o obtaining) may(s Source) []string {
	if slices.Contains(o.Sources, s) {
		return []string{string(s)}
	}
	return nil
}

// couldHold are the sources of a build's outputs, in the order in which they are asked.
func (o obtaining) couldHold(m made) []string {
	if o.heldFirst(m) {
		return append(o.may(Registry), o.may(Build)...)
	}
	return o.may(Build)
}

// couldPull are the sources of an image, in the order in which they are asked.
func (o obtaining) couldPull(p picture) []string {
	if o.pulledFirst(p) {
		return append(o.may(Registry), o.may(Build)...)
	}
	return o.may(Build)
}
