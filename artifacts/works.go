package artifacts

import (
	"cmp"
	"context"
	"slices"

	"netlab.dev/netlab/components"
)

// work is a pending build or Debian layer.
type work struct {
	item
	seconds int
	build   *made              // nil for a layer
	debian  *components.Debian // nil for a build
	do      func(context.Context) error
}

// worksOf lists the builds and layers that the cache lacks and some sets require, each once, the
// longest first, so that a short one finishes last. A layer that is installed over another one
// comes right after it.
func worksOf(jobs []job) ([]work, error) {
	var all []work
	seen := map[item]bool{}
	for _, j := range jobs {
		works, err := j.works()
		if err != nil {
			return nil, err
		}
		for _, w := range works {
			if !seen[w.item] {
				all = append(all, w)
			}
			seen[w.item] = true
		}
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(b.seconds, a.seconds) })
	return all, nil
}

// works lists what a set's ingredients are made of, as far as the cache lacks both.
func (j job) works() ([]work, error) {
	all, err := j.ingredients()
	if err != nil {
		return nil, err
	}
	return j.worksFor(all)
}

// worksFor is works for some of a set's ingredients.
func (j job) worksFor(all []ingredient) ([]work, error) {
	t := todo{job: j, over: map[string][]string{}}
	for _, i := range all {
		if _, cached := t.have(i.item); cached {
			continue
		}
		if err := t.require(i.of); err != nil {
			return nil, err
		}
	}
	return t.all()
}

// todo collects works.
type todo struct {
	job
	works  []work
	layers []string            // references of those that are lacking
	over   map[string][]string // by reference, the lacking layers that are installed over one that is lacking too
}

// origin is what an ingredient is made of.
type origin struct {
	builds []made
	layers []string // references
}

// withFiles adds the builds of a layer's or an image's files. For copies nothing is built.
func (o obtaining) withFiles(from origin, contents components.Contents) (origin, error) {
	for _, f := range contents.Files {
		if f.Build == "" {
			continue
		}
		m, err := o.madeBy(f)
		if err != nil {
			return from, err
		}
		from.builds = append(from.builds, m)
	}
	return from, nil
}

func (t *todo) require(of origin) error {
	for _, m := range of.builds {
		if err := t.build(m); err != nil {
			return err
		}
	}
	for _, ref := range of.layers {
		if err := t.layer(ref); err != nil {
			return err
		}
	}
	return nil
}

func (t *todo) build(m made) error {
	i, err := m.item()
	if err != nil {
		return err
	}
	if _, cached := t.have(i); cached || t.known(i) {
		return nil
	}
	t.works = append(t.works, work{item: i, seconds: m.Seconds, build: &m, do: func(ctx context.Context) error {
		_, err := t.job.build(ctx, m)
		return err
	}})
	return nil
}

func (t *todo) known(i item) bool {
	return slices.ContainsFunc(t.works, func(w work) bool { return w.item == i })
}

// layer adds a layer that the cache lacks, what it is installed over and what its files are
// made by.
func (t *todo) layer(ref string) error {
	i, err := t.layerItem(ref)
	if err != nil {
		return err
	}
	if _, cached := t.have(i); cached || slices.Contains(t.layers, ref) || t.base.ref == ref {
		return nil // the last: it is taken out of an image
	}
	_, l, err := t.set.Layer(ref)
	if err != nil {
		return err
	}
	from, err := t.withFiles(origin{}, l.Contents)
	if err != nil {
		return err
	}
	if l.Debian != nil && l.Debian.Over != "" {
		from.layers = append(from.layers, l.Debian.Over)
		t.over[l.Debian.Over] = append(t.over[l.Debian.Over], ref)
	}
	if err := t.require(from); err != nil {
		return err
	}
	t.layers = append(t.layers, ref)
	return nil
}

// all is the builds, and the layers of Debian packages: one work for those that wait for each
// other.
func (t *todo) all() ([]work, error) {
	works := t.works
	for _, ref := range t.layers {
		_, l, err := t.set.Layer(ref)
		if err != nil {
			return nil, err
		}
		if l.Debian == nil || slices.Contains(t.layers, l.Debian.Over) {
			continue
		}
		i, err := t.layerItem(ref)
		if err != nil {
			return nil, err
		}
		works = append(works, work{item: i, seconds: l.Seconds, debian: l.Debian, do: func(ctx context.Context) error {
			for _, ref := range append([]string{ref}, t.over[ref]...) {
				if _, err := t.job.layer(ctx, ref); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return works, nil
}
