package components

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/goccy/go-yaml"

	"netlab.dev/netlab/topology"
)

// View is what the templates of a component see.
type View struct {
	Plan    topology.Plan
	Version string            // the component's
	Options map[string]string // each with its value or default; proxy is kubernetes.proxy
}

// optionProxy is an option of every component, given by kubernetes.proxy.
const optionProxy = "proxy"

func (k Component) view(p topology.Plan) View {
	v := View{Plan: p, Version: k.Version, Options: map[string]string{}}
	for name, allowed := range k.Options {
		v.Options[name] = allowed[0]
	}
	if k.Kind == KindCNI {
		maps.Copy(v.Options, p.CNI.Options)
	}
	v.Options[optionProxy] = p.Kubernetes.Proxy
	return v
}

// fill executes one of the component's template files, with the functions that charts
// have too; without that file it gives nothing.
func (k Component) fill(file string, p topology.Plan) ([]byte, error) {
	text, err := fs.ReadFile(k.files, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := template.New(k.Name + "/" + file).Funcs(sprig.TxtFuncMap()).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, k.view(p)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Supports tells what the plan's CNI claims; without a CNI nothing is claimed. The
// plan is one that Resolve accepts.
func (c Catalog) Supports(p topology.Plan) Support {
	k, ok := c[p.CNI.Name]
	if !ok {
		return Support{L7Reason: "the lab has no CNI"}
	}
	s, _ := k.supports(p) // Resolve has seen the error
	return s
}

func (k Component) supports(p topology.Plan) (Support, error) {
	var s Support
	text, err := k.fill("supports.yaml", p)
	if err != nil {
		return s, err
	}
	if err := yaml.UnmarshalWithOptions(text, &s, yaml.Strict()); err != nil {
		return s, fmt.Errorf("%s/supports.yaml: %w", k.Name, err)
	}
	return s, nil
}
