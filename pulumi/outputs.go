package pulumi

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// The outputs of a Lab, beside its inputs.
const (
	nameProperty       = "name"
	nodesProperty      = "clusterNodes"
	hostsProperty      = "outsideHosts"
	planProperty       = "plan"
	problemsProperty   = "problems"
	kubeconfigProperty = "kubeconfig"
	vipsProperty       = "vips"
)

// machine is a Node or an outside host.
type machine struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Address   string   `json:"address"` // the first; a Node's InternalIP
	Addresses []string `json:"addresses"`
}

func machines(all []topology.Machine) []machine {
	out := []machine{}
	for _, m := range all {
		one := machine{Name: m.Name, Role: m.Role, Address: m.Address().String()}
		for _, nic := range m.NICs {
			for _, address := range nic.Addresses {
				one.Addresses = append(one.Addresses, address.Addr().String())
			}
		}
		out = append(out, one)
	}
	return out
}

// described are the outputs that follow from a plan. They are secret if one of the properties that
// the plan was made of is.
func described(plan topology.Plan, secret bool) (resource.PropertyMap, error) {
	out := resource.PropertyMap{}
	for key, value := range map[resource.PropertyKey]any{
		nameProperty: plan.Lab.Label(), nodesProperty: machines(plan.Nodes()), hostsProperty: machines(plan.Hosts()),
		planProperty: plan, problemsProperty: []string{},
	} {
		p, err := property(value)
		if err != nil {
			return nil, err
		}
		if secret && key != problemsProperty {
			p = resource.MakeSecret(p)
		}
		out[key] = p
	}
	return out, nil
}

// planned are the outputs of a lab before it is made or changed: all but what only a running
// cluster has. Of a lab that is changed in place, that stays as it was.
func (p *Provider) planned(v values, inputs, was resource.PropertyMap) (resource.PropertyMap, error) {
	out := maps.Clone(inputs)
	var decided resource.PropertyMap
	if len(v.unknown) > 0 {
		decided = resource.PropertyMap{}
		for _, key := range []resource.PropertyKey{nameProperty, nodesProperty, hostsProperty, planProperty, problemsProperty} {
			decided[key] = unknown()
		}
	} else {
		set, _, err := p.resolve(v)
		if err != nil {
			return nil, err
		}
		if decided, err = described(set.Plan, v.secret); err != nil {
			return nil, err
		}
	}
	maps.Copy(out, decided)
	for _, key := range []resource.PropertyKey{kubeconfigProperty, vipsProperty} {
		if before, made := was[key]; made {
			out[key] = before
		} else {
			out[key] = unknown()
		}
	}
	if !out[kubeconfigProperty].IsSecret() {
		out[kubeconfigProperty] = resource.MakeSecret(out[kubeconfigProperty])
	}
	return out, nil
}

// outputs are those of a lab that exists, perhaps incomplete: then it has no kubeconfig yet, or
// does not say which VIPs there are.
func (p *Provider) outputs(ctx context.Context, state providers.State, inputs resource.PropertyMap, secret bool) (resource.PropertyMap, error) {
	out, err := described(state.Plan, secret)
	if err != nil {
		return nil, err
	}
	for key, value := range inputs {
		out[key] = value
	}
	lab := state.Plan.Lab
	kubeconfig, _ := p.engine.Kubeconfig(lab) // problems say that it is missing
	out[kubeconfigProperty] = resource.MakeSecret(resource.NewStringProperty(string(kubeconfig)))
	if state.Phase != providers.PhaseUp {
		out[problemsProperty], err = property(lines(state.NotUp()))
		return out, err
	}
	if vips, err := p.engine.VIPs(ctx, lab); err == nil { // Read reports why the API server does not answer
		if out[vipsProperty], err = property(vips); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fields are the fields of a lab file, as properties.
func fields(file string) (map[string]any, error) {
	text, err := labs.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if list, is := tree["manifests"].([]any); is {
		if tree["manifests"], err = absolute(list, filepath.Dir(file)); err != nil {
			return nil, err
		}
	}
	delete(tree, "apiVersion")
	delete(tree, "kind")
	if len(tree) == 0 {
		return nil, fmt.Errorf("%s: %w", file, os.ErrInvalid)
	}
	return tree, nil
}
