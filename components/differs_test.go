package components

import (
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/topology"
)

var update = flag.Bool("update", false, "write docs/differences.md")

func TestDifferencesDocument(t *testing.T) {
	const path = "../docs/differences.md"
	want := load(t).DifferencesMarkdown()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is out of date (%v): go test ./components -run TestDifferencesDocument -update", path, err)
	}
}

func TestSettings(t *testing.T) {
	var v any
	if err := yaml.Unmarshal([]byte(`
a: {b: 1, c: [x, z], d: {}}
containers:
  - {name: agent, image: i, env: [{name: E, value: v}, {name: F, valueFrom: {f: 1}}]}
mixed: [{name: i}, {other: o}]
`), &v); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a.b": 1.0, "a.c": []any{"x", "z"}, "a.d": map[string]any{},
		"containers[agent].image": "i", "containers[agent].env[E]": "v", "containers[agent].env[F].valueFrom.f": 1.0,
		"mixed": []any{map[string]any{"name": "i"}, map[string]any{"other": "o"}},
	}
	if got := Settings(v); !reflect.DeepEqual(got, want) {
		t.Errorf("settings are %v, not %v", got, want)
	}
	d := Difference{In: "values", Field: "a.b"}
	for field, covered := range map[string]bool{"a.b": true, "a.b.c": true, "a.b[n]": true, "a.bc": false, "a": false} {
		if d.covers("values", field) != covered || d.covers("kubelet", field) {
			t.Errorf("a.b covers %s: %t", field, !covered)
		}
	}
}

// walk is the settings of one component in one variant of its lab: those of the chart's values
// and of the patches, and upstream's own by the same paths.
type walk struct {
	k             Component
	set, upstream map[string]map[string]any
}

// walked renders a component in every combination of its options.
func walked(t *testing.T, c Catalog, k Component) []walk {
	t.Helper()
	var walks []walk
	for _, change := range variants(k) {
		p := quickstart(c)
		p.Kubernetes.PodCIDRs = []netip.Prefix{prefix("10.8.0.0/16")}
		p.Machines = []topology.Machine{{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane, NICs: []topology.NIC{{Name: "eth0", MTU: 1400}}}}
		lacking := change(&p)
		set := resolve(t, c, p)
		k, _ := set.Find(k.Name)
		artifacts := Artifacts{Copies: copied(t, set), Lacking: map[string]string{}}
		for _, i := range k.Images {
			if i.Optional != "" && lacking {
				artifacts.Lacking[k.Ref(i)] = "no registry answered"
			} else if i.Optional != "" {
				artifacts.Images = append(artifacts.Images, k.Ref(i))
			}
		}
		walks = append(walks, settingsOf(t, k, artifacts, k.view(p, artifacts)))
	}
	return walks
}

// variants are changes of a plan, which return whether optional images are lacking.
func variants(k Component) []func(*topology.Plan) bool {
	switch k.Kind {
	case KindIngress:
		return []func(*topology.Plan) bool{
			func(p *topology.Plan) bool { p.Ingress.Version = k.Version; return false },
			func(p *topology.Plan) bool {
				p.Ingress.Version, p.Ingress.Service = k.Version, "NodePort"
				return false
			},
		}
	case KindLoadBalancer:
		return []func(*topology.Plan) bool{func(p *topology.Plan) bool { p.LoadBalancer.Version = k.Version; return false }}
	case KindCNI:
	default:
		return []func(*topology.Plan) bool{func(*topology.Plan) bool { return false }}
	}
	combinations := []map[string]string{{}}
	for option, values := range k.Options {
		var more []map[string]string
		for _, c := range combinations {
			for _, value := range values {
				with := maps.Clone(c)
				with[option] = value
				more = append(more, with)
			}
		}
		combinations = more
	}
	var all []func(*topology.Plan) bool
	for _, options := range combinations {
		for _, lacking := range []bool{false, true} {
			all = append(all, func(p *topology.Plan) bool {
				p.CNI.Name, p.CNI.Version, p.CNI.Options = k.Name, k.Version, options
				if options["kubeProxyReplacement"] == "true" {
					p.Kubernetes.Proxy = proxyNone
				}
				return lacking
			})
		}
	}
	return all
}

func settingsOf(t *testing.T, k Component, artifacts Artifacts, v View) walk {
	t.Helper()
	w := walk{k, map[string]map[string]any{}, map[string]map[string]any{}}
	parse := func(text []byte) (out map[string]any) {
		if err := yaml.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if k.Install.Chart != "" {
		ours, err := k.fill("values.yaml", v)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(artifacts.Copies[k.Install.Chart], "values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		w.set["values"], w.upstream["values"] = Settings(parse(ours)), Settings(parse(theirs))
	}
	text, err := k.fill("patches.yaml", v)
	if err != nil {
		t.Fatal(err)
	}
	patches, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := k.texts(artifacts, v)
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range patches {
		in := patch.GetKind() + " " + patch.GetName()
		w.set[in] = objectSettings(patch.Object)
		for _, text := range texts {
			objects, err := decode(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if o.GetKind() == patch.GetKind() && o.GetName() == patch.GetName() {
					w.upstream[in] = objectSettings(o.Object)
				}
			}
		}
	}
	return w
}

// objectSettings are those of an object; the fields of a workload's Pods begin at the Pod's spec.
func objectSettings(object map[string]any) map[string]any {
	out := map[string]any{}
	for field, value := range Settings(object) {
		switch {
		case field == "apiVersion", field == "kind", strings.HasPrefix(field, "metadata."), strings.Contains(field, "$setElementOrder"):
		default:
			out[strings.TrimPrefix(field, "spec.template.spec.")] = value
		}
	}
	return out
}

// Every value of a chart and every patch is listed with its reason, nothing is listed or set
// that is upstream's own, and what is listed as upstream's value is it.
func TestDifferencesAreListed(t *testing.T) {
	c := load(t)
	for _, k := range c.all() {
		if k.Install == nil || k.Install.Own != "" { // no upstream to differ from
			continue
		}
		differ := map[string]bool{} // entries by whether they differ in any variant
		for _, w := range walked(t, c, k) {
			for in, fields := range w.set {
				for field, value := range fields {
					theirs, there := w.upstream[in][field]
					d, listed := k.Listed(in, field)
					same := there && reflect.DeepEqual(theirs, value)
					if !listed {
						if !same || in == "values" {
							t.Errorf("%s: %s %s is set to %v and not listed under differs in component.yaml (upstream: %v)", k.Name, in, field, value, theirs)
						}
						continue
					}
					differ[d.In+" "+d.Field] = differ[d.In+" "+d.Field] || !same
					if d.Value != nil && !agrees(d, field, d.Value, value) {
						t.Errorf("%s: %s %s is %v, and listed as %v", k.Name, in, field, value, d.Value)
					}
					if there && !none(theirs) && !agrees(d, field, d.Upstream, theirs) {
						t.Errorf("%s: upstream's %s %s is %v, and listed as %v", k.Name, in, field, theirs, d.Upstream)
					}
				}
			}
		}
		for _, d := range k.Differs {
			if is, set := differ[d.In+" "+d.Field]; !set || !is {
				t.Errorf("%s: %s %s is listed; it is set: %t, and differs: %t", k.Name, d.In, d.Field, set, is)
			}
		}
	}
}

// agrees reports whether an entry says a value of a field, which is its own or below it. A text
// of several words describes one.
func agrees(d Difference, field string, says, value any) bool {
	if text, ok := says.(string); ok && strings.Contains(text, " ") {
		return true
	}
	for below, v := range Settings(says) {
		at := d.Field + "." + below
		if below == "" || below[0] == '[' {
			at = d.Field + below
		}
		if at == field {
			return reflect.DeepEqual(v, value)
		}
	}
	return false
}

// none reports whether a chart leaves a value to the program.
func none(v any) bool {
	return v == nil || reflect.ValueOf(v).IsZero() || reflect.DeepEqual(v, map[string]any{}) || reflect.DeepEqual(v, []any{})
}
