package components

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/topology"
)

// Where Envoy is available the chart installs one per Node; otherwise it installs none.
func TestCiliumWithAndWithoutEnvoy(t *testing.T) {
	k := load(t)["cilium"][0]
	envoy := k.Images[slices.IndexFunc(k.Images, func(i Image) bool { return i.Optional == "envoy" })]
	cilium := func(p *topology.Plan) { cni(p, "cilium", "routing", "tunnel") }
	with := renderWith(t, Artifacts{Images: []string{k.Ref(envoy)}}, cilium)["cilium"]
	without := renderWith(t, Artifacts{Lacking: map[string]string{k.Ref(envoy): "no registry answered"}}, cilium)["cilium"]

	config := func(r Rendered, key string) string {
		t.Helper()
		s, _, err := unstructured.NestedString(r.find(t, "ConfigMap", "cilium-config"), "data", key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	off := renderWith(t, Artifacts{Images: []string{k.Ref(envoy)}}, func(p *topology.Plan) { cni(p, "cilium", "l7Proxy", "false") })["cilium"]
	for key, want := range map[string][3]string{"enable-l7-proxy": {"true", "true", "false"}, "external-envoy-proxy": {"true", "false", "false"}} {
		if got := [3]string{config(with, key), config(without, key), config(off, key)}; got != want {
			t.Errorf("%s with Envoy, without, and with the option off is %q, not %q", key, got, want)
		}
	}
	if got := config(without, "disable-envoy-version-check"); got != "true" {
		t.Errorf("without Envoy the agent asks for its version: %q", got)
	}
	if images := imagesIn(with.find(t, "DaemonSet", "cilium-envoy")); !slices.Equal(images, []string{k.Ref(envoy)}) {
		t.Errorf("Envoy's DaemonSet runs %v, and %s is what is pulled", images, k.Ref(envoy))
	}
	waits := func(r Rendered) bool {
		return slices.ContainsFunc(r.Ready, func(w Workload) bool { return w.Name == "cilium-envoy" })
	}
	if !waits(with) || waits(without) || waits(off) {
		t.Errorf("Envoy is waited for: %t with, %t without, %t with the option off", waits(with), waits(without), waits(off))
	}
	for _, o := range slices.Concat(without.Objects, off.Objects) {
		if strings.Contains(o.GetName(), "envoy") {
			t.Errorf("without Envoy there is %s %s", o.GetKind(), o.GetName())
		}
	}
}

// The pin of the pulled image is the chart's.
func TestCiliumPinsTheChartsEnvoy(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	cni(&p, "cilium")
	k := c["cilium"][0]
	text, err := os.ReadFile(filepath.Join(copied(t, resolve(t, c, p))[k.Install.Chart], "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Envoy struct {
			Image struct{ Repository, Tag, Digest string }
		}
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	want := values.Envoy.Image
	for _, i := range k.Images {
		if i.Name == want.Repository && i.Tag == want.Tag && i.Pull == want.Digest {
			return
		}
	}
	t.Errorf("the chart uses %+v, which no image of component.yaml is", want)
}

func TestCiliumFQDNPolicy(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	cni(&p, "cilium")
	set := resolve(t, c, p)
	o, err := set.FQDNPolicy(FQDNRule{Namespace: "ns", Name: "n", Label: "example.org/app", Value: "a", FQDN: "internet.outside.test"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kind":"CiliumNetworkPolicy"`, `"matchLabels":{"example.org/app":"a"}`, `"toFQDNs":[{"matchName":"internet.outside.test"}]`,
		`"rules":{"dns":[{"matchPattern":"*"}]}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if s := set.Support(Artifacts{}); !s.FQDNPolicy {
		t.Errorf("not supported: %q", s.FQDNReason)
	}
	cni(&p, "cilium", "l7Proxy", "false")
	if s := resolve(t, c, p).Support(Artifacts{}); s.FQDNPolicy || s.L7Policy || s.FQDNReason != "cni.options.l7Proxy is false" || s.L7Reason != s.FQDNReason {
		t.Errorf("with l7Proxy false: %+v", s)
	}
	for _, name := range []string{"flannel", "calico"} {
		cni(&p, name)
		if s := resolve(t, c, p).Support(Artifacts{}); s.FQDNPolicy || s.FQDNReason == "" {
			t.Errorf("%s: %t %q", name, s.FQDNPolicy, s.FQDNReason)
		}
	}
}

func TestCiliumL7Policy(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	cni(&p, "cilium")
	o, err := resolve(t, c, p).L7Policy(HTTPRule{Namespace: "ns", Name: "n", Label: "example.org/app", Value: "a", Port: 8080, Method: "GET", Path: "/public"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kind":"CiliumNetworkPolicy"`, `"matchLabels":{"example.org/app":"a"}`, `"name":"n","namespace":"ns"`,
		`"toPorts":[{"ports":[{"port":"8080","protocol":"TCP"}],"rules":{"http":[{"method":"GET","path":"/public"}]}}]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	cni(&p, "flannel")
	if _, err := resolve(t, c, p).L7Policy(HTTPRule{}); err == nil || !strings.Contains(err.Error(), "flannel/l7policy.yaml") {
		t.Errorf("of Flannel: %v", err)
	}
}

// Nothing that a lab does not require starts before the agent, and nothing waits for its first
// check.
func TestCiliumStartsAtOnce(t *testing.T) {
	k := load(t)["cilium"][0]
	for name, change := range map[string]func(*topology.Plan){
		"with kube-proxy": func(p *topology.Plan) { cni(p, "cilium", "routing", "tunnel") },
		"in its place": func(p *topology.Plan) {
			p.Kubernetes.Proxy = "none"
			cni(p, "cilium", "routing", "native", "kubeProxyReplacement", "true")
		},
	} {
		rendered := render(t, change)["cilium"]
		agent := rendered.find(t, "DaemonSet", "cilium")
		before, _, err := unstructured.NestedSlice(agent, "spec", "template", "spec", "initContainers")
		if err != nil || len(before) != 1 {
			t.Errorf("%s: %d containers come before the agent, %v", name, len(before), err)
		}
		for _, of := range []map[string]any{agent, rendered.find(t, "Deployment", "cilium-operator")} {
			containers, _, err := unstructured.NestedSlice(of, "spec", "template", "spec", "containers")
			if err != nil || len(containers) != 1 {
				t.Fatalf("%s: %d containers, %v", name, len(containers), err)
			}
			for _, probe := range []string{"startupProbe", "readinessProbe"} {
				p, given := containers[0].(map[string]any)[probe].(map[string]any)
				if !given {
					continue
				}
				for field, most := range map[string]string{"initialDelaySeconds": "0", "periodSeconds": "1"} {
					if got, set := p[field]; set && fmt.Sprint(got) != most {
						t.Errorf("%s: %s of %s is %v", name, field, probe, got)
					}
				}
			}
		}
		if len(rendered.CRDs) != len(k.Install.CRDs) {
			t.Errorf("%s: %d definitions come before it, of %d", name, len(rendered.CRDs), len(k.Install.CRDs))
		}
		config := rendered.find(t, "ConfigMap", "cilium-config")["data"].(map[string]any)
		for _, key := range []string{"set-cilium-node-taints", "remove-cilium-node-taints"} {
			if config[key] != nil {
				t.Errorf("%s: %s is %v", name, key, config[key])
			}
		}
		// The one container before the agent mounts what the agent is configured with.
		text := fmt.Sprint(before[0].(map[string]any)["command"])
		if root := fmt.Sprint(config["cgroup-root"]); !strings.Contains(text, "' "+root+"\n") {
			t.Errorf("%s: %s is mounted by no %s", name, root, text)
		}
	}
}
