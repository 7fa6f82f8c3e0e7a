package artifacts

import (
	"slices"

	"netlab.dev/netlab/components"
)

// ingredient is an entry of the cache that a lab's artifacts are made of, and that comes from a
// source: it is built, pulled or downloaded. All else in the cache is made of ingredients, in
// seconds and on every machine.
type ingredient struct {
	item
	what   string
	of     origin
	pulled bool // a registry is asked for it before it is built
	only   bool // nobody but its registry has it
}

// What an ingredient is begins with these, and a reference follows.
const (
	whatImage  = "image "
	whatLayer  = "layer "
	whatBuild  = "build "
	whatFiles  = "files of "
	whatDigest = "digest of " // that a tag had
)

// ingredients lists those of a set, each once. Optional images are among them if they are cached.
func (j job) ingredients() ([]ingredient, error) {
	l := listing{job: j}
	l.over = slices.ContainsFunc(j.parts, func(k components.Component) bool {
		return slices.ContainsFunc(k.Images, func(i components.Image) bool { return i.Over != nil })
	})
	for _, k := range j.parts {
		if err := l.component(k); err != nil {
			return nil, err
		}
	}
	if l.imports && !l.over { // otherwise by the containerd of that image
		if err := l.output(containerdBuild); err != nil {
			return nil, err
		}
	}
	for _, m := range j.set.Plan.Hosts() {
		services, err := j.set.HostServices(m)
		if err != nil {
			return nil, err
		}
		for _, s := range services {
			if err := l.layers(s.Layer); err != nil {
				return nil, err
			}
		}
	}
	if image := j.set.Plan.Image; image.URL != "" {
		l.add(ingredient{item: cloudItem(image.Image), what: "cloud image " + image.URL})
	}
	return l.all, nil
}

// listing collects ingredients.
type listing struct {
	job
	over    bool // the node image is laid over an upstream's
	imports bool // there are images for the Nodes' store
	all     []ingredient
}

func (l *listing) add(i ingredient) {
	if !slices.ContainsFunc(l.all, func(have ingredient) bool { return have.item == i.item }) {
		l.all = append(l.all, i)
	}
}

func (l *listing) component(k components.Component) error {
	for _, i := range k.Images {
		if err := l.image(l.picture(k, i)); err != nil {
			return err
		}
	}
	for _, name := range k.Programs {
		if err := l.output(k.Name + "/" + name); err != nil {
			return err
		}
	}
	for _, ref := range k.Copies() {
		of, b, _, err := l.set.Copied(ref)
		if err != nil {
			return err
		}
		l.files(made{of, b})
	}
	if k.Kind != components.KindMachine {
		return nil
	}
	for _, b := range k.Builds {
		if err := l.build(made{k, b}); err != nil {
			return err
		}
	}
	for _, layer := range k.Layers {
		if err := l.layers(k.Name + "/" + layer.Name); err != nil {
			return err
		}
	}
	return nil
}

// image adds an image; of one that netlab itself is in, what is below netlab.
func (l *listing) image(p picture) error {
	l.imports = l.imports || !p.Node
	from, err := l.withFiles(origin{layers: p.From}, p.Contents)
	if err != nil {
		return err
	}
	if p.self() {
		for _, m := range from.builds {
			if err := l.build(m); err != nil {
				return err
			}
		}
		return l.layers(p.From...)
	}
	if p.Over != nil {
		under := l.upstream(p.of, *p.Over)
		i, err := l.imageItem(under)
		if err != nil {
			return err
		}
		l.add(ingredient{item: i, what: whatImage + under.ref, only: true})
		l.add(ingredient{item: l.pin(p.of, *p.Over), what: whatDigest + under.ref})
		if err := l.layers(p.Over.Debian); err != nil {
			return err
		}
	}
	i, err := l.imageItem(p)
	if err != nil {
		return err
	}
	if _, cached := l.have(i); cached || p.Optional == "" {
		l.add(ingredient{i, whatImage + p.ref, from, l.pulledFirst(p), p.Pull != ""})
	}
	return nil
}

func (l *listing) layers(refs ...string) error {
	for _, ref := range refs {
		if ref == "" {
			continue
		}
		i, err := l.layerItem(ref)
		if err != nil {
			return err
		}
		l.add(ingredient{i, whatLayer + ref, origin{layers: []string{ref}}, l.base.ref == ref, l.base.ref == ref})
	}
	return nil
}

func (l *listing) files(m made) {
	l.add(ingredient{item: m.filesItem(), what: m.whatFiles()})
}

func (l *listing) output(ref string) error {
	m, err := l.job.output(ref)
	if err != nil {
		return err
	}
	return l.build(m)
}

func (l *listing) build(m made) error {
	i, err := m.item()
	if err != nil {
		return err
	}
	l.add(ingredient{i, m.what(), origin{builds: []made{m}}, l.heldFirst(m), false})
	return nil
}

// pulled reports whether all that something is made of comes from registries.
func (o obtaining) pulled(of origin) bool {
	return !slices.ContainsFunc(of.builds, func(m made) bool { return !o.heldFirst(m) }) &&
		!slices.ContainsFunc(of.layers, func(ref string) bool { return ref != o.base.ref })
}

// lacking returns an error that lists the ingredients that are not cached and that no source may
// be asked for: offline all of them, without builds those that are built.
func (c Cache) lacking(jobs []job) error {
	if slices.Contains(c.Sources, Build) {
		return nil
	}
	var l lackingError
	for _, j := range jobs {
		all, err := j.ingredients()
		if err != nil {
			return err
		}
		for _, i := range all {
			asked := !c.offline() && (i.pulled || j.pulled(i.of))
			if _, cached := j.have(i.item); !cached && !asked && !slices.Contains(l.what, i.what) {
				l.what = append(l.what, i.what)
			}
		}
	}
	if len(l.what) == 0 {
		return nil
	}
	return l
}
