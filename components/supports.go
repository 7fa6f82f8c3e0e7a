package components

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/goccy/go-yaml"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/topology"
)

// View is what the templates of a component see.
type View struct {
	Plan    topology.Plan
	Version string            // the component's
	Options map[string]string // each with its value or default; proxy is kubernetes.proxy
	Lacking map[string]string // optional image → why it is not available; "" if it is
}

// optionProxy is an option of every component, given by kubernetes.proxy.
const optionProxy = "proxy"

func (k Component) view(p topology.Plan, artifacts Artifacts) View {
	v := View{Plan: p, Version: k.Version, Lacking: map[string]string{}}
	for _, i := range k.Images {
		if i.Optional != "" {
			v.Lacking[i.Optional] = artifacts.Lacks(k.Ref(i))
		}
	}
	v.Options = k.options(p)
	v.Options[optionProxy] = p.Kubernetes.Proxy
	return v
}

// fill executes one of the component's template files over data, with the functions that
// charts have too; without that file the result is empty.
func (k Component) fill(file string, data any) ([]byte, error) {
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
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Support is what the set's CNI claims to support, given what was obtained; without a CNI
// nothing. Listeners are those of the services of outside hosts.
func (s Set) Support(artifacts Artifacts) Support {
	claims := Support{L7Reason: "the lab has no CNI"}
	if k, ok := s.Of(KindCNI); ok {
		claims, _ = k.supports(s.Plan, artifacts) // Resolve has reported the error
	}
	claims.Listeners = s.listeners()
	return claims
}

// NodePortAddresses are the addresses of a Node at which it serves NodePorts: all that it has,
// but for kube-proxy in mode nftables, whose default is the InternalIP
// (https://kubernetes.io/docs/reference/networking/virtual-ips/#migrating-from-iptables-mode-to-nftables).
func (s Support) NodePortAddresses(p topology.Plan, node topology.Machine) []netip.Addr {
	if p.Kubernetes.Proxy == "nftables" && !s.ReplacesProxy {
		return []netip.Addr{node.Address()}
	}
	return node.Addresses()
}

func (k Component) supports(p topology.Plan, artifacts Artifacts) (Support, error) {
	var s Support
	text, err := k.fill("supports.yaml", k.view(p, artifacts))
	if err != nil {
		return s, err
	}
	if err := yaml.UnmarshalWithOptions(text, &s, yaml.Strict()); err != nil {
		return s, fmt.Errorf("%s/supports.yaml: %w", k.Name, err)
	}
	return s, nil
}

// HTTPRule is what an L7 policy allows: to the Pods of a namespace with one label, on one
// port, only one method and path. Path is a regular expression of the
// whole path.
type HTTPRule struct {
	Namespace, Name string // of the policy; the Pods' namespace too
	Label, Value    string
	Port            int
	Method, Path    string
}

// L7Policy returns the object that makes the set's CNI enforce a rule: its l7policy.yaml,
// which every CNI with L7Policy in its Support has.
func (s Set) L7Policy(rule HTTPRule) (unstructured.Unstructured, error) {
	const file = "l7policy.yaml"
	k, _ := s.Of(KindCNI)
	text, err := k.fill(file, rule)
	if err != nil {
		return unstructured.Unstructured{}, err
	}
	objects, err := decode(text)
	if err == nil && len(objects) != 1 {
		err = fmt.Errorf("it has %d objects, not one", len(objects))
	}
	if err != nil {
		return unstructured.Unstructured{}, fmt.Errorf("%s/%s: %w", k.Name, file, err)
	}
	return objects[0], nil
}
