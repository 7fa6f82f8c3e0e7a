package components

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Folders whose names begin with an underscore hold sources of other Go modules.
//
//go:embed all:*/*
var folders embed.FS

// Catalog is every component, by name.
type Catalog map[string]Component

// Load reads every folder, strictly, and checks that what they name exists.
func Load() (Catalog, error) { return read(folders) }

func read(root fs.FS) (Catalog, error) {
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	catalog := Catalog{}
	var problems []error
	for _, e := range entries {
		text, err := fs.ReadFile(root, path.Join(e.Name(), "component.yaml"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := Component{Name: e.Name()}
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
			problems = append(problems, fmt.Errorf("%s/component.yaml: %w", e.Name(), err))
			continue
		}
		if c.files, err = fs.Sub(root, e.Name()); err != nil {
			return nil, err
		}
		catalog[c.Name] = c
	}
	for _, name := range catalog.names() {
		for _, err := range catalog.check(catalog[name]) {
			problems = append(problems, fmt.Errorf("%s/component.yaml: %w", name, err))
		}
	}
	return catalog, errors.Join(problems...)
}

func (c Catalog) names() []string {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check reports what a component names that is not there.
func (c Catalog) check(k Component) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{KindBase, KindCNI, KindLoadBalancer, KindIngress, KindMachine, KindHost}, k.Kind) {
		wrong("kind %q is not one of base, cni, loadBalancer, ingress, machine, host", k.Kind)
	}
	for field, value := range map[string]string{"version": k.Version, "about": k.About, "source": k.Source} {
		if value == "" {
			wrong("%s is empty", field)
		}
	}
	optional := map[string]bool{"": true}
	for _, i := range k.Images {
		if i.Over != nil {
			if err := c.checkUpstream(i); err != nil {
				wrong("image %s: %w", i.Name, err)
			}
		}
		if err := i.checkPull(); err != nil {
			wrong("image %s: %w", i.Name, err)
		}
		optional[i.Optional] = true
	}
	for _, n := range k.Needs {
		if !optional[n.With] {
			wrong("needs %s with %s, which is no optional image", n.Option, n.With)
		}
		if err := c.checkWhen(k, n.When); err != nil {
			wrong("needs %s: %w", n.Option, err)
		}
	}
	for _, w := range k.Warns {
		if err := c.checkWhen(k, w.When); err != nil {
			wrong("warns %q: %w", w.Says, err)
		}
		if len(w.When) == 0 || w.Says == "" || w.Source == "" {
			wrong("warns %q: needs when, says and source", w.Says)
		}
	}
	for _, b := range k.Builds {
		if b.Name == "" || len(b.Packages)+len(b.Copies) == 0 {
			wrong("build %q needs a name, and packages or copies", b.Name)
		}
		if b.Module == "" && b.Own == "" {
			wrong("build %s has neither module nor source of its own", b.Name)
		}
		for name, of := range b.Links {
			if b.Packages[of] == "" {
				wrong("build %s: link %s to %s, which it does not make", b.Name, name, of)
			}
		}
		if b.Own != "" {
			if _, err := fs.Stat(k.files, b.Own); err != nil {
				wrong("build %s: %w", b.Name, err)
			}
		}
	}
	for _, p := range k.Programs {
		if _, err := c.output(k.Name + "/" + p); err != nil {
			wrong("program %s: %w", p, err)
		}
	}
	for _, l := range k.Layers {
		if l.Debian != nil && l.Debian.Over != "" {
			if _, _, err := c.layer(l.Debian.Over); err != nil {
				wrong("layer %s: %w", l.Name, err)
			}
		}
		for _, err := range c.checkContents(k, l.Contents) {
			wrong("layer %s: %w", l.Name, err)
		}
	}
	for _, i := range k.Images {
		for _, ref := range i.From {
			if _, _, err := c.layer(ref); err != nil {
				wrong("image %s: %w", i.Name, err)
			}
		}
		for _, err := range c.checkContents(k, i.Contents) {
			wrong("image %s: %w", i.Name, err)
		}
	}
	if k.Install != nil {
		if (k.Install.Chart == "") == (k.Install.Manifest == "") {
			wrong("install: needs either chart or manifest")
		} else if _, _, err := c.copied(k.Install.Chart + k.Install.Manifest); err != nil {
			wrong("install: %w", err)
		}
		for _, ref := range k.Install.CRDs {
			if _, _, err := c.copied(ref); err != nil {
				wrong("install: crds: %w", err)
			}
		}
		for _, q := range k.Install.Asks {
			// In a Node's root, seen from outside, an absolute link would lead astray.
			if !path.IsAbs(q.Socket) || strings.HasPrefix(q.Socket, "/var/run/") || slices.Contains([]string{q.Path, q.Field, q.Want, q.Name, q.Of}, "") {
				wrong("install: asks: %s: needs socket (below /run, not /var/run), path, field, want, name and of", q)
			}
		}
		for _, w := range k.Install.Ready {
			if w.Kind != "Deployment" && w.Kind != "DaemonSet" {
				wrong("install: ready: kind %q is neither Deployment nor DaemonSet", w.Kind)
			}
			if !optional[w.With] {
				wrong("install: ready: %s with %s, which is no optional image", w, w.With)
			}
		}
	}
	return problems
}

// checkWhen reports an option, or a value of one, that a component does not have.
func (c Catalog) checkWhen(k Component, when map[string]string) error {
	for option, value := range when {
		of := k
		if option == optionProxy && k.Name != "kubernetes" {
			of = c["kubernetes"]
		}
		if !slices.Contains(of.Options[option], value) {
			return fmt.Errorf("when %s is %s, which it cannot be", option, value)
		}
	}
	return nil
}

func (c Catalog) checkContents(k Component, contents Contents) (problems []error) {
	for _, f := range contents.Files {
		sources := 0
		for _, given := range []bool{f.Build != "", f.Copy != "", f.Own != "", f.Text != "", f.Self} {
			if given {
				sources++
			}
		}
		var err error
		switch {
		case sources != 1 || !path.IsAbs(f.To):
			err = errors.New("needs an absolute path and exactly one of build, copy, own, text, self")
		case f.Build != "":
			_, err = c.output(f.Build)
		case f.Copy != "":
			_, _, err = c.copied(f.Copy)
		case f.Own != "":
			_, err = fs.Stat(k.files, f.Own)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("file %s: %w", f.To, err))
		}
		if len(f.Edits) > 0 && f.Copy == "" {
			problems = append(problems, fmt.Errorf("file %s: only a copy is edited", f.To))
		}
	}
	return problems
}

// made is a build together with the component it belongs to.
type made struct {
	of Component
	Build
}

// output finds the build that makes "component/output".
func (c Catalog) output(ref string) (made, error) {
	component, output, _ := strings.Cut(ref, "/")
	for _, b := range c[component].Builds {
		if b.Packages[output] != "" || b.Links[output] != "" {
			return made{c[component], b}, nil
		}
	}
	return made{}, fmt.Errorf("no build makes %s", ref)
}

// copied finds the build that keeps "component/name", and the path below its directory of copies.
func (c Catalog) copied(ref string) (made, string, error) {
	component, rest, _ := strings.Cut(ref, "/")
	name, _, _ := strings.Cut(rest, "/")
	for _, b := range c[component].Builds {
		if b.Copies[name] != "" {
			return made{c[component], b}, rest, nil
		}
	}
	return made{}, "", fmt.Errorf("no build keeps %s", ref)
}

// layer finds "component/layer".
func (c Catalog) layer(ref string) (Component, Layer, error) {
	component, name, _ := strings.Cut(ref, "/")
	for _, l := range c[component].Layers {
		if l.Name == name {
			return c[component], l, nil
		}
	}
	return Component{}, Layer{}, fmt.Errorf("no layer %s", ref)
}

// Known is what a lab may ask of the components. Providers are the caller's to add.
func (c Catalog) Known() labs.Known {
	known := labs.Known{
		Kubernetes:    []string{c["kubernetes"].Version},
		ProxyModes:    c["kubernetes"].Options[optionProxy],
		CNIs:          map[string]labs.Choice{},
		LoadBalancers: map[string]labs.Choice{},
		Ingresses:     map[string]labs.Choice{},
	}
	kinds := map[string]map[string]labs.Choice{
		KindCNI: known.CNIs, KindLoadBalancer: known.LoadBalancers, KindIngress: known.Ingresses,
	}
	for name, k := range c {
		if choices := kinds[k.Kind]; choices != nil {
			choices[name] = labs.Choice{Versions: []string{k.Version}, Options: k.Options, Modes: k.Modes}
		}
	}
	return known
}

// Resolve gives the components that a plan needs: those of every lab (and of virtual
// machines, and of the load balancer before several control planes) by name, then CNI,
// load balancer and ingress, which is the order they are installed in. It refuses a
// component that is not there or does not work with the plan's Kubernetes.
func (c Catalog) Resolve(p topology.Plan) ([]Component, error) {
	var set []Component
	for _, name := range c.names() {
		if k := c[name].Kind; k == KindBase || k == KindMachine && p.Virtual() || k == KindHost && p.HighlyAvailable() {
			set = append(set, c[name])
		}
	}
	if v := c["kubernetes"].Version; p.Kubernetes.Version != v {
		return nil, fmt.Errorf("kubernetes %s is not to be had: the catalog has %s", p.Kubernetes.Version, v)
	}
	for _, want := range []struct{ kind, name string }{
		{KindCNI, p.CNI.Name}, {KindLoadBalancer, p.LoadBalancer.Name}, {KindIngress, p.Ingress.Name},
	} {
		if want.name == "" || want.name == "none" {
			continue
		}
		k, ok := c[want.name]
		if !ok || k.Kind != want.kind {
			return nil, fmt.Errorf("no %s is called %q: known are %s", want.kind, want.name, strings.Join(c.ofKind(want.kind), ", "))
		}
		if err := k.worksWith(p.Kubernetes.Version); err != nil {
			return nil, err
		}
		s, err := k.supports(p, Artifacts{})
		if err != nil {
			return nil, err
		}
		if k.Kind == KindCNI {
			if err := k.served(s, p); err != nil {
				return nil, err
			}
		}
		set = append(set, k)
	}
	if v := p.CNI.Version; v != "" && p.CNI.Name != "none" && v != c[p.CNI.Name].Version {
		return nil, fmt.Errorf("%s %s is not to be had: the catalog has %s", p.CNI.Name, v, c[p.CNI.Name].Version)
	}
	return set, nil
}

func (c Catalog) ofKind(kind string) []string {
	return slices.DeleteFunc(c.names(), func(name string) bool { return c[name].Kind != kind })
}

func (k Component) worksWith(kubernetes string) error {
	if len(k.Kubernetes) > 0 && !slices.Contains(k.Kubernetes, minor(kubernetes)) {
		return fmt.Errorf("%s %s does not work with Kubernetes %s: it does with %s",
			k.Name, k.Version, kubernetes, strings.Join(k.Kubernetes, ", "))
	}
	return nil
}
