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
	v.Options = k.options(p)
	v.Options[optionProxy] = p.Kubernetes.Proxy
	for _, i := range k.Images {
		switch {
		case i.Optional == "":
		case heldBy(i.When, v.Options):
			v.Lacking[i.Optional] = artifacts.Lacks(k.Ref(i))
		default:
			v.Lacking[i.Optional] = "the lab's options exclude it"
		}
	}
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

// Support is what the set's CNI, load balancer and ingress controller claim, given what was
// obtained; without a CNI, policies are not supported. Listeners are those of the services of outside hosts.
func (s Set) Support(artifacts Artifacts) Support {
	claims := Support{L7Reason: "the lab has no CNI"}
	for _, kind := range []string{KindCNI, KindLoadBalancer, KindIngress} {
		if k, ok := s.Of(kind); ok {
			_ = k.supports(s.Plan, artifacts, &claims) // Resolve has reported the error
		}
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

// supports adds a component's claims to those of others.
func (k Component) supports(p topology.Plan, artifacts Artifacts, to *Support) error {
	text, err := k.fill("supports.yaml", k.view(p, artifacts))
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(text, to, yaml.Strict()); err != nil {
		return fmt.Errorf("%s/supports.yaml: %w", k.Name, err)
	}
	return nil
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

// FQDNRule is what a DNS policy allows: from the Pods of a namespace with one label, only the
// addresses of one DNS name, and the cluster's DNS.
type FQDNRule struct {
	Namespace, Name string // of the policy; the Pods' namespace too
	Label, Value    string
	FQDN            string
}

// L7Policy returns the object that makes the set's CNI enforce a rule: its l7policy.yaml,
// which every CNI with L7Policy in its Support has.
func (s Set) L7Policy(rule HTTPRule) (unstructured.Unstructured, error) {
	return s.policy("l7policy.yaml", rule)
}

// FQDNPolicy is likewise the CNI's fqdnpolicy.yaml.
func (s Set) FQDNPolicy(rule FQDNRule) (unstructured.Unstructured, error) {
	return s.policy("fqdnpolicy.yaml", rule)
}

func (s Set) policy(file string, rule any) (unstructured.Unstructured, error) {
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
