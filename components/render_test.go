package components

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// copied returns artifacts with the files that a set's components copy out of their modules,
// where they lie in the module cache: nothing is built.
func copied(t *testing.T, set Set) map[string]string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("needs go: %v", err)
	}
	copies := map[string]string{}
	for _, k := range set.Components {
		for _, ref := range k.Copies() {
			_, b, rest, err := set.Copied(ref)
			if err != nil {
				t.Fatal(err)
			}
			name, below, _ := strings.Cut(rest, "/")
			copies[ref] = filepath.Join(module(t, k, b), b.Copies[name], below)
		}
	}
	return copies
}

// module is the directory of a build's module in the module cache.
func module(t *testing.T, k Component, b Build) string {
	t.Helper()
	version := cmp.Or(b.Version, k.Version)
	cmd := exec.Command("go", "mod", "download", "-json", b.Module+"@"+version)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if json.Unmarshal(out, &got) != nil || got.Dir == "" {
		t.Skipf("needs the Go module proxy: %v, %s", err, got.Error)
	}
	return got.Dir
}

// render returns everything that a plan installs, by component, where no optional image was
// obtained.
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
	set := resolve(t, c, p)
	artifacts.Copies = copied(t, set)
	all, err := set.Render(artifacts)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Rendered{}
	for _, r := range all {
		out[r.Name] = r
	}
	return out
}

func resolve(t *testing.T, c Catalog, p topology.Plan) Set {
	t.Helper()
	set, err := c.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	return set
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
	have := map[string]bool{}
	parts, _ := load(t).Sets()
	for _, k := range parts {
		for _, i := range k.Images {
			have[k.Ref(i)] = true
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
					t.Errorf("%s: %s %s references %s, which nothing makes", name, object.GetKind(), object.GetName(), ref)
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
			t.Errorf("flannel is passed %s, not %s", flannel, want)
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
			t.Errorf("ingress-nginx renders a %s, whose image is not available", o.GetKind())
		}
	}

	other := render(t, func(p *topology.Plan) {
		p.Kubernetes.Proxy, p.Ingress.Service = "iptables", "NodePort"
		p.CNI.Options = map[string]string{"backend": "host-gw"}
		p.LoadBalancer.Pools = append(p.LoadBalancer.Pools, topology.Pool{Network: "lan", First: address("172.30.0.230"), Last: address("172.30.0.230")})
	})
	flannel = at(other["flannel"].find(t, "ConfigMap", "kube-flannel-cfg"), "data", "net-conf.json")
	if strings.Contains(flannel, "EnableNFTables") || !strings.Contains(flannel, `"Type": "host-gw"`) {
		t.Errorf("flannel is passed %s", flannel)
	}
	if got := at(other["ingress-nginx"].find(t, "Service", "ingress-nginx-controller"), "spec", "type"); got != "NodePort" {
		t.Errorf("the Ingress controller's Service is a %s", got)
	}
	addresses, _, _ = unstructured.NestedStringSlice(other["metallb"].find(t, "IPAddressPool", "lab"), "spec", "addresses")
	if !slices.Equal(addresses, []string{"172.30.0.200-172.30.0.219", "172.30.0.230-172.30.0.230"}) {
		t.Errorf("the pool holds %v", addresses)
	}
}

// CNIs that would take the smallest MTU of all NICs are passed that of the Nodes' network.
func TestMTUIsThatOfTheNodesNetwork(t *testing.T) {
	c := load(t)
	for _, r := range []struct{ cni, option, value, object, field, want string }{
		{"calico", "encapsulation", "vxlan", "calico-config", "veth_mtu", "8950"},
		{"calico", "encapsulation", "none", "calico-config", "veth_mtu", "9000"},
		{"cilium", "routing", "tunnel", "cilium-config", "mtu", "9000"},
		{"cilium", "routing", "native", "cilium-config", "mtu", "9000"},
	} {
		p := quickstart(c)
		cni(&p, r.cni)
		p.CNI.Options[r.option] = r.value
		p.Machines = []topology.Machine{{Name: "w", Kind: topology.KindNode, NICs: []topology.NIC{{Name: "eth0", MTU: 9000}, {Name: "eth1", MTU: 1500}}}}
		set := resolve(t, c, p)
		k, _ := set.Of(KindCNI)
		rendered, err := k.render(p, Artifacts{Copies: copied(t, set)})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedString(rendered.find(t, "ConfigMap", r.object), "data", r.field); got != r.want {
			t.Errorf("%s %s is passed MTU %q, want %s", r.cni, r.value, got, r.want)
		}
	}
}

// A VIP is announced by the Nodes on its network alone, each by its NIC there.
func TestPoolsOfSeveralNetworks(t *testing.T) {
	node := func(name string, networks ...string) topology.Machine {
		m := topology.Machine{Name: name, Kind: topology.KindNode}
		for i, n := range networks {
			m.NICs = append(m.NICs, topology.NIC{Name: fmt.Sprintf("eth%d", i), Network: n})
		}
		return m
	}
	rendered := render(t, func(p *topology.Plan) {
		p.Machines = []topology.Machine{node("cp", "lan"), node("app", "lan"), node("edge", "lan", "dmz"), node("7", "lan", "backup", "dmz")}
		p.LoadBalancer.Pools = []topology.Pool{
			{Network: "dmz", First: address("192.168.50.200"), Last: address("192.168.50.201")},
			{Network: "lan", First: address("172.30.0.200"), Last: address("172.30.0.201")},
			{Network: "dmz", First: address("192.168.50.210"), Last: address("192.168.50.219")},
		}
	})["metallb"]
	got := rendered.configured(t)
	nodes := func(list string) string {
		return `"nodeSelectors":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":` + list + `}]}]`
	}
	want := map[string]string{
		"IPAddressPool lab":        `{"addresses":["192.168.50.200-192.168.50.201","192.168.50.210-192.168.50.219"],"serviceAllocation":{"priority":1,"serviceSelectors":[{}]}}`,
		"IPAddressPool lab-lan":    `{"addresses":["172.30.0.200-172.30.0.201"],"serviceAllocation":{"priority":2,"serviceSelectors":[{}]}}`,
		"L2Advertisement lab":      `{"interfaces":["eth1"],"ipAddressPools":["lab"],` + nodes(`["edge"]`) + `}`,
		"L2Advertisement lab-eth2": `{"interfaces":["eth2"],"ipAddressPools":["lab"],` + nodes(`["7"]`) + `}`,
		"L2Advertisement lab-lan":  `{"interfaces":["eth0"],"ipAddressPools":["lab-lan"]}`,
	}
	if !maps.Equal(got, want) {
		t.Errorf("MetalLB is configured with\n%v\nwant\n%v", got, want)
	}
}

// configured are the specs of the component's own configuration, by kind and name.
func (r Rendered) configured(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, o := range r.Config {
		spec, err := json.Marshal(o.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		got[o.GetKind()+" "+o.GetName()] = string(spec)
	}
	return got
}

// In mode bgp every Node has a session with each router, by the speaker's own BGP.
func TestMetalLBWithBGP(t *testing.T) {
	bgp := &topology.BGP{BGP: labs.BGP{ASN: 64501, AggregationLength: 32, HoldTime: labs.Duration{Duration: 9 * time.Second}},
		Peers: []topology.Peer{{Router: "r1", ASN: 64500, Address: address("172.30.0.1")}, {Router: "r2", ASN: 64502, Address: address("172.30.0.2")}}}
	with := func(p *topology.Plan) {
		p.LoadBalancer = topology.LoadBalancer{Name: "metallb", Version: "v0.16.1", Mode: "bgp", BGP: bgp,
			Pools: []topology.Pool{{First: address("198.51.100.1"), Last: address("198.51.100.20")}}}
	}
	speaker := func(r Rendered) string {
		spec, err := json.Marshal(r.find(t, "DaemonSet", "metallb-speaker"))
		if err != nil {
			t.Fatal(err)
		}
		return string(spec)
	}
	rendered := render(t, with)["metallb"]
	want := map[string]string{
		"IPAddressPool lab":    `{"addresses":["198.51.100.1-198.51.100.20"]}`,
		"BGPAdvertisement lab": `{"ipAddressPools":["lab"]}`,
		"BGPPeer r1":           `{"holdTime":"9s","myASN":64501,"peerASN":64500,"peerAddress":"172.30.0.1"}`,
		"BGPPeer r2":           `{"holdTime":"9s","myASN":64501,"peerASN":64502,"peerAddress":"172.30.0.2"}`,
	}
	if got := rendered.configured(t); !maps.Equal(got, want) {
		t.Errorf("MetalLB is configured with\n%v\nwant\n%v", got, want)
	}
	// Without METALLB_BGP_TYPE the speaker takes native.
	if text := speaker(rendered); strings.Contains(text, "METALLB_BGP_TYPE") || strings.Contains(text, "--ignore-exclude-lb") {
		t.Errorf("the speaker is %s", text)
	}
	bgp.IgnoreExcludeLB, bgp.AggregationLength, bgp.Password, bgp.Communities = true, 24, `a"b`, []string{"64501:100", "1:2"}
	want["BGPPeer r1"] = strings.Replace(want["BGPPeer r1"], `"peerASN"`, `"password":"a\"b","peerASN"`, 1)
	want["BGPPeer r2"] = strings.Replace(want["BGPPeer r2"], `"peerASN"`, `"password":"a\"b","peerASN"`, 1)
	want["BGPAdvertisement lab"] = `{"aggregationLength":24,"communities":["64501:100","1:2"],"ipAddressPools":["lab"]}`
	if got := render(t, with)["metallb"].configured(t); !maps.Equal(got, want) {
		t.Errorf("with every field MetalLB is configured with\n%v\nwant\n%v", got, want)
	}
	if text := speaker(render(t, with)["metallb"]); !strings.Contains(text, "--ignore-exclude-lb") {
		t.Errorf("the speaker that heeds no label is %s", text)
	}
	c := load(t)
	for ignores, excludes := range map[bool]bool{true: false, false: true} {
		p := quickstart(c)
		bgp.IgnoreExcludeLB = ignores
		with(&p)
		if got := resolve(t, c, p).Support(Artifacts{}).VIPs.ExcludesNodes; got != excludes {
			t.Errorf("ignoreExcludeLB %t: labelled Nodes are excluded: %t", ignores, got)
		}
	}
}

// Debian's iptables writes to nf_tables, so that kube-proxy's rules are there in each of its
// modes: so are Calico's, unless the lab file says otherwise, which prints a warning.
func TestCalicoHasTheBackendOfKubeProxy(t *testing.T) {
	c := load(t)
	for _, proxy := range c["kubernetes"][0].Options["proxy"] {
		if proxy == proxyNone {
			continue // then another component handles Services, and Calico does not
		}
		for option, want := range map[string]string{"": "NFT", "nft": "NFT", "legacy": "Legacy"} {
			p := quickstart(c)
			p.Kubernetes.Proxy = proxy
			cni(&p, "calico")
			if option != "" {
				p.CNI.Options["iptables"] = option
			}
			set := resolve(t, c, p)
			calico, _ := set.Of(KindCNI)
			rendered, err := calico.render(p, Artifacts{Copies: copied(t, set)})
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
				t.Errorf("kube-proxy %s, option %q: Felix is passed %v, want %s", proxy, option, got, want)
			}
			warned := strings.Contains(strings.Join(calico.notices(p), "\n"), "legacy iptables rules are in force in addition")
			if warned != (want == "Legacy") {
				t.Errorf("kube-proxy %s, option %q: warned %t", proxy, option, warned)
			}
		}
	}
}
