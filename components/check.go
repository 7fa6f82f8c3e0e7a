package components

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// check reports what a component refers to that does not exist.
func (c Catalog) check(k Component) []error {
	x := checking{catalog: c, k: k, set: c.around(k, c.releaseOf(k)), optional: map[string]bool{"": true}}
	for _, i := range k.Images {
		x.optional[i.Optional] = true
	}
	x.header()
	x.modes()
	x.differs()
	x.refuses()
	x.builds()
	x.layers()
	x.images()
	if err := k.checkService(); err != nil {
		x.wrong("%w", err)
	}
	if k.Install != nil {
		x.install(*k.Install)
	}
	return x.problems
}

// checking is the check of one component.
type checking struct {
	catalog  Catalog
	k        Component
	set      Set
	optional map[string]bool // images without which the component works, and ""
	problems []error
}

func (x *checking) wrong(format string, args ...any) {
	x.problems = append(x.problems, fmt.Errorf(format, args...))
}

// unless reports an error under what it is about.
func (x *checking) unless(err error, format string, args ...any) {
	if err != nil {
		x.wrong("%s: %w", fmt.Sprintf(format, args...), err)
	}
}

func (x *checking) header() {
	kinds := []string{KindBase, KindKubernetes, KindCNI, KindLoadBalancer, KindIngress, KindMachine, KindHost, KindImages}
	if !slices.Contains(kinds, x.k.Kind) {
		x.wrong("kind %q is not one of %s", x.k.Kind, strings.Join(kinds, ", "))
	}
	for field, value := range map[string]string{"version": x.k.Version, "about": x.k.About, "source": x.k.Source} {
		if value == "" {
			x.wrong("%s is empty", field)
		}
	}
	if many := x.catalog.ofKind(KindKubernetes); x.k.Kind == KindKubernetes && len(many) > 1 {
		x.wrong("kind %s is that of %s too", KindKubernetes, strings.Join(many, " and "))
	}
	for name, version := range x.k.Release {
		if other, ok := x.catalog.find(name, version); !ok || version == "" || other.Kind != KindBase {
			x.wrong("release: %s %s is not a base component of the catalogue", name, version)
		}
	}
}

// modes checks conditions on options, or on an optional image.
func (x *checking) modes() {
	for _, n := range x.k.Needs {
		if !x.optional[n.With] {
			x.wrong("needs %s with %s, which is not an optional image", n.Option, n.With)
		}
		x.unless(x.when(n.When), "needs %s", n.Option)
	}
	for _, w := range x.k.Warns {
		x.unless(x.when(w.When), "warns %q", w.Says)
		if len(w.When) == 0 || w.Says == "" || w.Source == "" {
			x.wrong("warns %q: needs when, says and source", w.Says)
		}
	}
}

// differs checks what is written about a difference, and that it is written once.
func (x *checking) differs() {
	for i, d := range x.k.Differs {
		if d.In == "" || d.Field == "" || d.Why == "" {
			x.wrong("differs: %s %s: needs in, field and why", d.In, d.Field)
		}
		for _, other := range x.k.Differs[:i] {
			if other.covers(d.In, d.Field) {
				x.wrong("differs: %s %s is listed by %s already", d.In, d.Field, other.Field)
			}
		}
	}
}

// refuses checks that a refusal is complete.
func (x *checking) refuses() {
	for _, r := range x.k.Refuses {
		if r.Field == "" || r.Value == "" || r.Why == "" {
			x.wrong("refuses: %s %s: needs field, value and why", r.Field, r.Value)
		}
	}
}

// when reports an option, or a value of one, that the component does not have.
func (x *checking) when(when map[string]string) error {
	for option, value := range when {
		of := x.k
		if option == optionProxy {
			of, _ = x.set.Of(KindKubernetes)
		}
		if !slices.Contains(of.Options[option], value) {
			return fmt.Errorf("when %s is %s, which is not one of its values", option, value)
		}
	}
	return nil
}

func (x *checking) builds() {
	for _, b := range x.k.Builds {
		if b.Name == "" || len(b.Packages)+len(b.Copies) == 0 {
			x.wrong("build %q needs a name, and packages or copies", b.Name)
		}
		if b.Module == "" && b.Own == "" {
			x.wrong("build %s has neither a module nor own source", b.Name)
		}
		for name, of := range b.Links {
			if b.Packages[of] == "" {
				x.wrong("build %s: link %s to %s, which it does not make", b.Name, name, of)
			}
		}
		if h := b.Held; h != nil && (h.Name == "" || h.Tag == "" || !path.IsAbs(h.Path)) {
			x.wrong("build %s: held needs name, tag and an absolute path", b.Name)
		}
		if b.Own != "" {
			_, err := fs.Stat(x.k.files, b.Own)
			x.unless(err, "build %s", b.Name)
		}
	}
	for _, p := range x.k.Programs {
		_, _, err := x.set.Output(x.k.Name + "/" + p)
		x.unless(err, "program %s", p)
	}
}

func (x *checking) layers() {
	for _, l := range x.k.Layers {
		if l.Debian != nil && l.Debian.Over != "" {
			_, _, err := x.set.Layer(l.Debian.Over)
			x.unless(err, "layer %s", l.Name)
		}
		x.contents("layer "+l.Name, l.Contents)
	}
}

func (x *checking) images() {
	for _, i := range x.k.Images {
		what := "image " + i.Name
		x.unless(x.when(i.When), "%s", what)
		if len(i.When) > 0 && i.Optional == "" {
			x.wrong("%s: only an optional image can have when", what)
		}
		if i.Over != nil {
			x.unless(x.upstream(i), "%s: over", what)
		}
		x.unless(pulled(i), "%s", what)
		for _, ref := range i.From {
			_, _, err := x.set.Layer(ref)
			x.unless(err, "%s", what)
		}
		x.contents(what, i.Contents)
	}
}

// upstream reports invalid fields of an upstream's image.
func (x *checking) upstream(i Image) error {
	u := i.Over
	for _, name := range u.Holds {
		if _, there := x.catalog[name]; !there {
			return fmt.Errorf("holds %s, which is not a component", name)
		}
	}
	if _, _, err := x.set.Layer(u.Debian); err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	if u.Pull != "" {
		if _, err := v1.NewHash(u.Pull); err != nil {
			return fmt.Errorf("pull: %w", err)
		}
	}
	switch {
	case !i.Node || len(i.From) > 0 || i.Optional != "":
		return errors.New("only a node image can lie over another image, and over no layers")
	case u.Name == "" || len(u.Providers) == 0 || u.Store == "":
		return errors.New("requires name, providers and store")
	}
	return nil
}

// pulled reports invalid fields of an image that is pulled.
func pulled(i Image) error {
	switch _, err := v1.NewHash(i.Pull); {
	case i.Pull == "" && i.Optional+i.Without == "":
		return nil
	case i.Pull == "" || i.Optional == "" || i.Without == "":
		return errors.New("pull, optional and without go together")
	case err != nil:
		return fmt.Errorf("pull: %w", err)
	case i.Node || i.Tag == SelfVersion || len(i.From)+len(i.Dirs)+len(i.Files)+len(i.Links) > 0:
		return errors.New("an image that is pulled has no contents here")
	}
	return nil
}

func (x *checking) contents(what string, contents Contents) {
	for _, f := range contents.Files {
		x.unless(x.file(f), "%s: file %s", what, f.To)
		if len(f.Edits) > 0 && f.Copy == "" {
			x.wrong("%s: file %s: only a copy can have edits", what, f.To)
		}
	}
}

func (x *checking) file(f File) (err error) {
	sources := 0
	for _, given := range []bool{f.Build != "", f.Copy != "", f.Own != "", f.Text != "", f.Self} {
		if given {
			sources++
		}
	}
	switch {
	case sources != 1 || !path.IsAbs(f.To):
		err = errors.New("requires an absolute path and exactly one of build, copy, own, text, self")
	case f.Build != "":
		_, _, err = x.set.Output(f.Build)
	case f.Copy != "":
		_, _, _, err = x.set.Copied(f.Copy)
	case f.Own != "":
		_, err = fs.Stat(x.k.files, f.Own)
	}
	return err
}

func (x *checking) install(in Install) {
	given := slices.DeleteFunc([]string{in.Chart, in.Manifest, in.Own}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		x.wrong("install: needs one of chart, manifest and own")
		return
	}
	if in.Own != "" {
		_, err := fs.Stat(x.k.files, in.Own)
		x.unless(err, "install: own")
	}
	if a := in.Account; a != nil && (x.k.Service == nil || !path.IsAbs(a.Kubeconfig) || slices.Contains([]string{a.Name, a.Secret, a.Lease}, "")) {
		x.wrong("install: account: needs a service on outside hosts, name, secret, lease and the absolute path of kubeconfig")
	}
	for _, ref := range in.copies() {
		_, _, _, err := x.set.Copied(ref)
		x.unless(err, "install")
	}
	for _, q := range in.Asks {
		// In a Node's root, seen from the host, an absolute link would point outside it.
		if !path.IsAbs(q.Socket) || strings.HasPrefix(q.Socket, "/var/run/") || slices.Contains([]string{q.Path, q.Field, q.Want, q.Name, q.Of}, "") {
			x.wrong("install: asks: %s: needs socket (below /run, not /var/run), path, field, want, name and of", q)
		}
	}
	for _, w := range in.Ready {
		if w.Kind != "Deployment" && w.Kind != "DaemonSet" {
			x.wrong("install: ready: kind %q is neither Deployment nor DaemonSet", w.Kind)
		}
		if !x.optional[w.With] {
			x.wrong("install: ready: %s with %s, which is not an optional image", w, w.With)
		}
	}
	duties := 0
	if x.k.Kind == KindLoadBalancer && x.k.Service == nil { // else its service has them
		duties = 1
	}
	for _, d := range []Duty{Assigns, Announces} {
		doing := slices.DeleteFunc(slices.Clone(in.Ready), func(w Workload) bool { return !slices.Contains(w.Does, d) })
		if len(doing) != duties {
			x.wrong("install: ready: %d workloads do %q; it is one of a load balancer", len(doing), d)
		}
	}
}
