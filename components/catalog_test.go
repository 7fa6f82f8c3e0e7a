package components

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

func load(t *testing.T) Catalog {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// quickstart is a plan with one component of each kind.
func quickstart(c Catalog) topology.Plan {
	p := topology.Plan{Lab: labs.MustName("quickstart")}
	p.Kubernetes.Version = c["kubernetes"][0].Version
	p.Kubernetes.PodCIDRs = []netip.Prefix{prefix("10.244.0.0/16")}
	p.Kubernetes.Proxy = "nftables"
	p.CNI = labs.CNI{Name: "flannel", Options: map[string]string{"backend": "vxlan"}}
	p.LoadBalancer = topology.LoadBalancer{Name: "metallb", Mode: "l2", Pools: []topology.Pool{
		{Network: "lan", First: address("172.30.0.200"), Last: address("172.30.0.219")}}}
	p.Ingress = labs.Ingress{Name: "ingress-nginx", Service: "LoadBalancer"}
	return p
}

func TestCatalogRefuses(t *testing.T) {
	const head = "kind: base\nversion: v1\nabout: a\nsource: b\n"
	tests := map[string]struct{ yaml, want string }{
		"unknown key":        {head + "verion: v2\n", `unknown field "verion"`},
		"unknown nested key": {head + "builds:\n  - {name: x, modul: y}\n", `unknown field "modul"`},
		"unknown kind":       {"kind: gadget\nversion: v1\nabout: a\nsource: b\n", `kind "gadget" is not one of`},
		"no version":         {"kind: base\nabout: a\nsource: b\n", "version is empty"},
		"nothing to build":   {head + "builds:\n  - {name: x, packages: {x: .}}\n", "neither a module nor own source"},
		"source not there":   {head + "builds:\n  - {name: x, own: _src, packages: {x: .}}\n", "_src"},
		"link to nothing":    {head + "builds:\n  - {name: x, module: m, packages: {x: m}, links: {y: z}}\n", "link y to z"},
		"no such program":    {head + "programs: [ls]\n", "no build makes k/ls"},
		"no such layer":      {head + "images:\n  - {name: x, from: [k/base]}\n", "no layer k/base"},
		"no such output":     {head + "images:\n  - {name: x, files: [{to: /a, build: k/a}]}\n", "no build makes k/a"},
		"no such file":       {head + "images:\n  - {name: x, files: [{to: /a, own: a}]}\n", "file /a"},
		"two sources":        {head + "images:\n  - {name: x, files: [{to: /a, text: a, self: true}]}\n", "exactly one of"},
		"relative path":      {head + "images:\n  - {name: x, files: [{to: a, text: a}]}\n", "absolute path"},
		"edits of no copy":   {head + "images:\n  - {name: x, files: [{to: /a, text: a, edits: [{find: a, put: b}]}]}\n", "only a copy"},
		"pull of no digest":  {head + "images:\n  - {name: x, pull: latest, optional: x, without: y}\n", "pull: "},
		"pull with recipe":   {head + "images:\n  - {name: x, pull: sha256:" + strings.Repeat("0", 64) + ", optional: x, without: y, dirs: [{path: /a}]}\n", "has no contents"},
		"optional, built":    {head + "images:\n  - {name: x, optional: x, without: y}\n", "go together"},
		"no such optional":   {head + "needs:\n  - {option: CONFIG_X, with: envoy}\n", "with envoy, which is not an optional image"},
		"no such mode":       {head + "options: {mode: [a]}\nneeds:\n  - {option: CONFIG_X, when: {mode: b}}\n", "needs CONFIG_X: when mode is b, which is not one of its values"},
		"warns of nothing":   {head + "options: {mode: [a]}\nwarns:\n  - {when: {mode: a}, says: beware}\n", "needs when, says and source"},
		"duties of a base":   {head + "install: {chart: k/chart, ready: [{kind: DaemonSet, does: [announces]}]}\n", `1 workloads do "announces"`},
		"a lazy balancer": {"kind: loadBalancer\nversion: v1\nabout: a\nsource: b\ninstall: {chart: k/chart, ready: [{kind: DaemonSet, does: [announces]}]}\n",
			`0 workloads do "assigns"; it is one of a load balancer`},
		"half a refusal": {head + "refuses: [{field: cni.name, value: x}]\n", "needs field, value and why"},
		"no such chart":  {head + "install: {chart: k/chart}\n", "no build keeps k/chart"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Read(fstest.MapFS{"k/component.yaml": {Data: []byte(test.yaml)}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// Every image in the catalog's refs has one owner, and what kubeadm installs by itself is
// in the catalog under the names that it uses.
func TestCatalogImages(t *testing.T) {
	owner := map[string]string{}
	parts, _ := load(t).Sets()
	for _, k := range parts {
		for _, i := range k.Images {
			ref := k.Ref(i)
			if owner[ref] != "" && owner[ref] != k.Name { // two versions may have one image
				t.Errorf("%s is made by %s and by %s", ref, owner[ref], k.Name)
			}
			owner[ref] = k.Name
		}
	}
	for _, ref := range []string{
		"registry.k8s.io/kube-apiserver:v1.34.4", "registry.k8s.io/etcd:3.6.5-0", "registry.k8s.io/coredns/coredns:v1.12.1",
		"registry.k8s.io/kube-apiserver:v1.35.4", "registry.k8s.io/etcd:3.6.6-0", "registry.k8s.io/coredns/coredns:v1.13.1",
		"registry.k8s.io/kube-apiserver:v1.36.3", "registry.k8s.io/etcd:3.6.8-0", "registry.k8s.io/coredns/coredns:v1.14.2",
		"registry.k8s.io/kube-apiserver:v1.37.2", "registry.k8s.io/kube-controller-manager:v1.37.2",
		"registry.k8s.io/kube-scheduler:v1.37.2", "registry.k8s.io/kube-proxy:v1.37.2",
		"registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/coredns/coredns:v1.14.6", "registry.k8s.io/pause:3.10.2",
		"netlab.dev/agent:self",
	} {
		if owner[ref] == "" {
			t.Errorf("nothing makes %s", ref)
		}
	}
}

func TestKnown(t *testing.T) {
	known := load(t).Known()
	if got := known.CNIs["flannel"].Of(""); !slices.Equal(got.Options["backend"], []string{"vxlan", "host-gw"}) || !got.Preferred {
		t.Errorf("flannel is offered as %+v", got)
	}
	if got := known.Ingresses["ingress-nginx"].Of("").Modes; !slices.Equal(got, []string{"LoadBalancer", "NodePort"}) {
		t.Errorf("ingress-nginx is offered with %v", got)
	}
	if got := known.LoadBalancers["metallb"].Of("").Modes; !slices.Equal(got, []string{"l2"}) {
		t.Errorf("metallb is offered with %v", got)
	}
	if got := known.CNIs["calico"].Of(""); !slices.Equal(got.Options["encapsulation"], []string{"vxlan", "none"}) {
		t.Errorf("calico is offered as %+v", got)
	}
}

func TestSupports(t *testing.T) {
	c := load(t)
	for backend, overhead := range map[string]int{"vxlan": 50, "host-gw": 0} {
		p := quickstart(c)
		p.CNI.Options["backend"] = backend
		if s := resolve(t, c, p).Support(Artifacts{}); s.Encapsulation.Overhead != overhead || s.NetworkPolicy || s.L7Reason == "" {
			t.Errorf("flannel with %s claims %+v", backend, s)
		}
	}
	s := resolve(t, c, quickstart(c)).Support(Artifacts{})
	if s.VIPs.PoolAnnotation != "metallb.io/address-pool" || !s.VIPs.ExcludesNodes || s.Ingress.Class != "nginx" || s.Encapsulation.Overhead != 50 {
		t.Errorf("load balancer and ingress controller beside the CNI claim %+v", s)
	}
	p := quickstart(c)
	p.CNI.Options = nil // the defaults hold
	if s := resolve(t, c, p).Support(Artifacts{}); s.Encapsulation.Overhead != 50 {
		t.Errorf("flannel without options claims %+v", s)
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func address(s string) netip.Addr  { return netip.MustParseAddr(s) }
