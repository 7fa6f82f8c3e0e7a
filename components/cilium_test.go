package components

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/topology"
)

// Where Envoy was to be had the chart gets one a Node, and nothing of it where not.
func TestCiliumWithAndWithoutEnvoy(t *testing.T) {
	k := load(t)["cilium"]
	envoy := k.Images[slices.IndexFunc(k.Images, func(i Image) bool { return i.Optional == "envoy" })]
	cilium := func(p *topology.Plan) { cni(p, "cilium", "routing", "tunnel") }
	with := renderWith(t, Stock{Images: []string{k.ref(envoy)}}, cilium)["cilium"]
	without := renderWith(t, Stock{Lacking: map[string]string{k.ref(envoy): "nobody is there"}}, cilium)["cilium"]

	config := func(r Rendered, key string) string {
		t.Helper()
		s, _, err := unstructured.NestedString(r.find(t, "ConfigMap", "cilium-config"), "data", key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, key := range []string{"enable-l7-proxy", "external-envoy-proxy"} {
		if config(with, key) != "true" || config(without, key) != "false" {
			t.Errorf("%s is %q with Envoy, %q without", key, config(with, key), config(without, key))
		}
	}
	if images := imagesIn(with.find(t, "DaemonSet", "cilium-envoy")); !slices.Equal(images, []string{k.ref(envoy)}) {
		t.Errorf("Envoy's DaemonSet runs %v, and %s is what is pulled", images, k.ref(envoy))
	}
	waits := func(r Rendered) bool {
		return slices.ContainsFunc(r.Ready, func(w Workload) bool { return w.Name == "cilium-envoy" })
	}
	if !waits(with) || waits(without) {
		t.Errorf("Envoy is waited for: %t with, %t without", waits(with), waits(without))
	}
	for _, o := range without.Objects {
		if strings.Contains(o.GetName(), "envoy") {
			t.Errorf("without Envoy there is %s %s", o.GetKind(), o.GetName())
		}
	}
}

// The pin of what is pulled is the chart's own.
func TestCiliumPinsTheChartsEnvoy(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	cni(&p, "cilium")
	r, _ := charts(t, c, p)
	m, rest, err := c.copied(c["cilium"].Install.Chart)
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.item()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.path(i), "files", rest, "values.yaml"))
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
	for _, i := range c["cilium"].Images {
		if i.Name == want.Repository && i.Tag == want.Tag && i.Pull == want.Digest {
			return
		}
	}
	t.Errorf("the chart wants %+v, which no image of component.yaml is", want)
}

func TestCiliumL7Policy(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	cni(&p, "cilium")
	o, err := c.L7Policy(p, HTTPRule{Namespace: "ns", Name: "n", Label: "example.org/app", Value: "a", Port: 8080, Method: "GET", Path: "/public"})
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
	if _, err := c.L7Policy(p, HTTPRule{}); err == nil || !strings.Contains(err.Error(), "flannel/l7policy.yaml") {
		t.Errorf("of Flannel: %v", err)
	}
}
