package components

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/topology"
)

// charts gives a resolver whose cache holds the files that components copy out of
// their modules, without building anything.
func charts(t *testing.T, c Catalog, p topology.Plan) (Resolver, []Component) {
	t.Helper()
	needs(t, "go")
	r := Resolver{Catalog: c, Cache: t.TempDir(), Self: os.Args[0]}
	set, err := c.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set {
		for _, b := range k.Builds {
			if len(b.Copies) == 0 {
				continue
			}
			m := made{k, b}
			module, err := moduleDir(t.Context(), m.Module+"@"+m.version())
			if err != nil {
				t.Skipf("needs the Go module proxy: %v", err)
			}
			i, err := m.item()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.keep(t.Context(), i, func(dir string, _ *record) error {
				for name, from := range b.Copies {
					if err := copyTree(filepath.Join(module, from), filepath.Join(dir, "files", name)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r, set
}

// render gives everything that a plan installs, by component, where no optional image is
// to be had.
func render(t *testing.T, change func(*topology.Plan)) map[string]Rendered {
	t.Helper()
	return renderWith(t, Artifacts{}, change)
}

func renderWith(t *testing.T, artifacts Artifacts, change func(*topology.Plan)) map[string]Rendered {
	t.Helper()
	c := load(t)
	p := quickstart(c)
	if change != nil {
		change(&p)
	}
	r, set := charts(t, c, p)
	out := map[string]Rendered{}
	for _, k := range set {
		rendered, err := r.Objects(t.Context(), k, p, artifacts)
		if err != nil {
			t.Fatal(err)
		}
		if k.Install != nil {
			out[k.Name] = rendered
		}
	}
	return out
}

func (r Rendered) all() []unstructured.Unstructured {
	return slices.Concat(r.CRDs, r.Objects, r.Config)
}

func (r Rendered) find(t *testing.T, kind, name string) map[string]any {
	t.Helper()
	for _, o := range r.all() {
		if o.GetKind() == kind && o.GetName() == name {
			return o.Object
		}
	}
	t.Fatalf("%s renders no %s %s", r.Name, kind, name)
	return nil
}

// imagesIn collects the value of every "image" key.
func imagesIn(v any) (refs []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "image" {
				refs = append(refs, ref)
			} else {
				refs = append(refs, imagesIn(value)...)
			}
		}
	case []any:
		for _, value := range v {
			refs = append(refs, imagesIn(value)...)
		}
	}
	return refs
}

func TestChartsUseOnlyImagesOfTheSet(t *testing.T) {
	o := obtaining{selfHash: "0123456789abcdef"}
	have := map[string]bool{}
	for _, k := range load(t) {
		for _, i := range k.Images {
			have[o.picture(k, i).ref] = true
		}
	}
	for name, rendered := range render(t, nil) {
		used := 0
		for _, object := range rendered.all() {
			if object.GetKind() == "CustomResourceDefinition" {
				continue // a schema may have a field of that name
			}
			for _, ref := range imagesIn(object.Object) {
				used++
				if !have[ref] {
					t.Errorf("%s: %s %s wants %s, which nothing makes", name, object.GetKind(), object.GetName(), ref)
				}
			}
		}
		if used == 0 {
			t.Errorf("%s uses no image at all", name)
		}
	}
}

func TestRenderedIsWhole(t *testing.T) {
	for name, rendered := range render(t, nil) {
		if rendered.Objects[0].GetKind() != "Namespace" {
			t.Errorf("%s begins with a %s", name, rendered.Objects[0].GetKind())
		}
		for _, w := range rendered.Ready {
			rendered.find(t, w.Kind, w.Name)
		}
		if len(rendered.Ready) == 0 {
			t.Errorf("%s is ready at once", name)
		}
		for _, o := range rendered.all() {
			if o.GetKind() == "" || o.GetName() == "" || o.GetAPIVersion() == "" {
				t.Errorf("%s renders %v", name, o.Object)
			}
			for key := range o.GetAnnotations() {
				if strings.HasPrefix(key, "helm.sh/hook") {
					t.Errorf("%s renders the hook %s %s", name, o.GetKind(), o.GetName())
				}
			}
		}
	}
}

func TestOurValues(t *testing.T) {
	at := func(object map[string]any, path ...string) string {
		t.Helper()
		s, _, err := unstructured.NestedString(object, path...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	rendered := render(t, nil)
	flannel := at(rendered["flannel"].find(t, "ConfigMap", "kube-flannel-cfg"), "data", "net-conf.json")
	for _, want := range []string{`"Network": "10.244.0.0/16"`, `"EnableNFTables": true`, `"Type": "vxlan"`} {
		if !strings.Contains(flannel, want) {
			t.Errorf("flannel is told %s, not %s", flannel, want)
		}
	}
	pool := rendered["metallb"].find(t, "IPAddressPool", "lab")
	addresses, _, _ := unstructured.NestedStringSlice(pool, "spec", "addresses")
	if !slices.Equal(addresses, []string{"172.30.0.200-172.30.0.219"}) {
		t.Errorf("the pool holds %v", addresses)
	}
	if len(rendered["metallb"].CRDs) == 0 {
		t.Error("metallb renders no CRDs")
	}
	for _, o := range rendered["metallb"].Config {
		if o.GetNamespace() != "metallb-system" {
			t.Errorf("%s is in namespace %q", o.GetKind(), o.GetNamespace())
		}
	}
	service := rendered["ingress-nginx"].find(t, "Service", "ingress-nginx-controller")
	if got := at(service, "spec", "type"); got != "LoadBalancer" {
		t.Errorf("the Ingress controller's Service is a %s", got)
	}
	for _, o := range rendered["ingress-nginx"].Objects {
		if o.GetKind() == "ValidatingWebhookConfiguration" || o.GetKind() == "Job" {
			t.Errorf("ingress-nginx renders a %s, whose image is not to be had", o.GetKind())
		}
	}

	other := render(t, func(p *topology.Plan) {
		p.Kubernetes.Proxy, p.Ingress.Service = "iptables", "NodePort"
		p.CNI.Options = map[string]string{"backend": "host-gw"}
		p.LoadBalancer.Pools = append(p.LoadBalancer.Pools, topology.Pool{First: address("172.31.0.9"), Last: address("172.31.0.9")})
	})
	flannel = at(other["flannel"].find(t, "ConfigMap", "kube-flannel-cfg"), "data", "net-conf.json")
	if strings.Contains(flannel, "EnableNFTables") || !strings.Contains(flannel, `"Type": "host-gw"`) {
		t.Errorf("flannel is told %s", flannel)
	}
	if got := at(other["ingress-nginx"].find(t, "Service", "ingress-nginx-controller"), "spec", "type"); got != "NodePort" {
		t.Errorf("the Ingress controller's Service is a %s", got)
	}
	addresses, _, _ = unstructured.NestedStringSlice(other["metallb"].find(t, "IPAddressPool", "lab"), "spec", "addresses")
	if !slices.Equal(addresses, []string{"172.30.0.200-172.30.0.219", "172.31.0.9-172.31.0.9"}) {
		t.Errorf("the pool holds %v", addresses)
	}
}

// Debian's iptables writes to nf_tables, so that kube-proxy's rules are there in each of its
// modes: Calico's are too, unless the lab says otherwise, which is warned of.
func TestCalicoHasTheBackendOfKubeProxy(t *testing.T) {
	c := load(t)
	for _, proxy := range c["kubernetes"].Options["proxy"] {
		if proxy == proxyNone {
			continue // somebody else answers for Services then, and Calico does not
		}
		for option, want := range map[string]string{"": "NFT", "nft": "NFT", "legacy": "Legacy"} {
			p := quickstart(c)
			p.Kubernetes.Proxy = proxy
			cni(&p, "calico")
			if option != "" {
				p.CNI.Options["iptables"] = option
			}
			r, set := charts(t, c, p)
			calico := set[slices.IndexFunc(set, func(k Component) bool { return k.Name == "calico" })]
			rendered, err := r.Objects(t.Context(), calico, p, Artifacts{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			spec, _, _ := unstructured.NestedMap(rendered.find(t, "DaemonSet", "calico-node"), "spec", "template", "spec")
			for _, kind := range []string{"containers", "initContainers"} {
				all, _, _ := unstructured.NestedSlice(spec, kind)
				for _, container := range all {
					env, _, _ := unstructured.NestedSlice(container.(map[string]any), "env")
					for _, e := range env {
						if e := e.(map[string]any); e["name"] == "FELIX_IPTABLESBACKEND" {
							got[e["value"].(string)] = true
						}
					}
				}
			}
			if !got[want] || len(got) != 1 {
				t.Errorf("kube-proxy %s, option %q: Felix is told %v, want %s", proxy, option, got, want)
			}
			warned := strings.Contains(strings.Join(calico.Notices(p), "\n"), "legacy ones are in force beside them")
			if warned != (want == "Legacy") {
				t.Errorf("kube-proxy %s, option %q: warned %t", proxy, option, warned)
			}
		}
	}
}

// Upstream's template is changed where Debian's nginx differs; each edit has to find
// its place in the pinned version, and nothing that 1.22 refuses may be left.
func TestEditsOfTheNginxTemplate(t *testing.T) {
	c := load(t)
	r, _ := charts(t, c, quickstart(c))
	for _, i := range c["ingress-nginx"].Images {
		for _, f := range i.Files {
			if len(f.Edits) == 0 {
				continue
			}
			m, rest, err := c.copied(f.Copy)
			if err != nil {
				t.Fatal(err)
			}
			where, err := m.item()
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(r.path(where), "files", rest))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Edits {
				if text, err = e.apply(text); err != nil {
					t.Fatal(err)
				}
			}
			for _, refused := range []string{"http2 on;", "tcp_udp_balancer", "lua_add_variable"} {
				if strings.Contains(string(text), refused) {
					t.Errorf("%s still says %s", f.To, refused)
				}
			}
			if !strings.Contains(string(text), "error_log {{ $cfg.ErrorLogPath }}") {
				t.Errorf("%s lost its variables", f.To)
			}
			return
		}
	}
	t.Error("nothing is edited")
}

func TestEditThatFindsNothing(t *testing.T) {
	if _, err := (Edit{Find: "http3", Put: ""}).apply([]byte("http2 on;")); err == nil || !strings.Contains(err.Error(), `"http3"`) {
		t.Errorf("got %v", err)
	}
}
