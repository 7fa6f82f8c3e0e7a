package components

import (
	"os"
	"path/filepath"
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
	p.Kubernetes.Version = c["kubernetes"].Version
	p.Kubernetes.PodCIDR = prefix("10.244.0.0/16")
	p.Kubernetes.Proxy = "nftables"
	p.CNI = labs.CNI{Name: "flannel", Options: map[string]string{"backend": "vxlan"}}
	p.LoadBalancer = topology.LoadBalancer{Name: "metallb", Mode: "l2", Pools: []topology.Pool{
		{Network: "lan", First: address("172.30.0.200"), Last: address("172.30.0.219")}}}
	p.Ingress = labs.Ingress{Name: "ingress-nginx", Service: "LoadBalancer"}
	return p
}

// planOf is a plan with one CNI.
func planOf(k Component) topology.Plan { return topology.Plan{CNI: labs.CNI{Name: k.Name}} }

func TestCatalogRefuses(t *testing.T) {
	const head = "kind: base\nversion: v1\nabout: a\nsource: b\n"
	tests := map[string]struct{ yaml, want string }{
		"unknown key":        {head + "verion: v2\n", `unknown field "verion"`},
		"unknown nested key": {head + "builds:\n  - {name: x, modul: y}\n", `unknown field "modul"`},
		"unknown kind":       {"kind: gadget\nversion: v1\nabout: a\nsource: b\n", `kind "gadget" is not one of`},
		"no version":         {"kind: base\nabout: a\nsource: b\n", "version is empty"},
		"nothing to build":   {head + "builds:\n  - {name: x, packages: {x: .}}\n", "neither module nor source"},
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
		"pull with recipe":   {head + "images:\n  - {name: x, pull: sha256:" + strings.Repeat("0", 64) + ", optional: x, without: y, dirs: [{path: /a}]}\n", "made of nothing"},
		"optional, built":    {head + "images:\n  - {name: x, optional: x, without: y}\n", "go together"},
		"no such optional":   {head + "needs:\n  - {option: CONFIG_X, with: envoy}\n", "with envoy, which is no optional image"},
		"no such mode":       {head + "options: {mode: [a]}\nneeds:\n  - {option: CONFIG_X, when: {mode: b}}\n", "needs CONFIG_X: when mode is b, which it cannot be"},
		"warns of nothing":   {head + "options: {mode: [a]}\nwarns:\n  - {when: {mode: a}, says: beware}\n", "needs when, says and source"},
		"no such chart":      {head + "install: {chart: k/chart}\n", "no build keeps k/chart"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(fstest.MapFS{"k/component.yaml": {Data: []byte(test.yaml)}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// Every image that the catalog's own refs name has one owner, and what kubeadm
// installs by itself is there under the names that it uses.
func TestCatalogImages(t *testing.T) {
	o := obtaining{selfHash: "0123456789abcdef"}
	owner := map[string]string{}
	for name, k := range load(t) {
		for _, i := range k.Images {
			ref := o.picture(k, i).ref
			if owner[ref] != "" {
				t.Errorf("%s is made by %s and by %s", ref, owner[ref], name)
			}
			owner[ref] = name
		}
	}
	for _, ref := range []string{
		"registry.k8s.io/kube-apiserver:v1.37.2", "registry.k8s.io/kube-controller-manager:v1.37.2",
		"registry.k8s.io/kube-scheduler:v1.37.2", "registry.k8s.io/kube-proxy:v1.37.2",
		"registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/coredns/coredns:v1.14.6", "registry.k8s.io/pause:3.10.2",
		"netlab.dev/agent:0123456789ab",
	} {
		if owner[ref] == "" {
			t.Errorf("nothing makes %s", ref)
		}
	}
}

func TestResolve(t *testing.T) {
	c := load(t)
	set, err := c.Resolve(quickstart(c))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range set {
		names = append(names, k.Name)
	}
	if last := names[len(names)-3:]; !slices.Equal(last, []string{"flannel", "metallb", "ingress-nginx"}) {
		t.Errorf("install order ends with %v", last)
	}
	bare := quickstart(c)
	bare.CNI.Name, bare.LoadBalancer.Name, bare.Ingress.Name = "none", "none", ""
	if set, err = c.Resolve(bare); err != nil {
		t.Fatal(err)
	}
	for _, k := range set {
		if k.Kind != KindBase {
			t.Errorf("a lab without CNI, load balancer and ingress gets %s", k.Name)
		}
	}
}

// haproxy comes with several control planes, and with them alone.
func TestResolveSeveralControlPlanes(t *testing.T) {
	c := load(t)
	for count := range 3 {
		p := quickstart(c)
		for range count {
			p.Machines = append(p.Machines, topology.Machine{Role: topology.RoleControlPlane})
		}
		set, err := c.Resolve(p)
		if err != nil {
			t.Fatal(err)
		}
		if has := slices.ContainsFunc(set, func(k Component) bool { return k.Name == "haproxy" }); has != (count > 1) {
			t.Errorf("%d control planes, haproxy: %t", count, has)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	c := load(t)
	old := c["flannel"]
	old.Name, old.Kubernetes = "old-cni", []string{"v1.29", "v1.30"}
	c["old-cni"] = old
	tests := map[string]struct {
		change func(*topology.Plan)
		want   string
	}{
		"kubernetes version": {func(p *topology.Plan) { p.Kubernetes.Version = "v1.12.0" }, "kubernetes v1.12.0 is not to be had"},
		"unknown CNI":        {func(p *topology.Plan) { p.CNI.Name = "flanel" }, `no cni is called "flanel": known are ` + strings.Join(c.ofKind(KindCNI), ", ")},
		"wrong kind":         {func(p *topology.Plan) { p.Ingress.Name = "metallb" }, `no ingress is called "metallb"`},
		"CNI version":        {func(p *topology.Plan) { p.CNI.Version = "v9" }, "flannel v9 is not to be had"},
		"incompatible":       {func(p *topology.Plan) { p.CNI.Name = "old-cni" }, "does not work with Kubernetes v1.37.2: it does with v1.29, v1.30"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := quickstart(c)
			test.change(&p)
			_, err := c.Resolve(p)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestKnown(t *testing.T) {
	known := load(t).Known()
	if got := known.CNIs["flannel"]; !slices.Equal(got.Options["backend"], []string{"vxlan", "host-gw"}) || len(got.Versions) != 1 {
		t.Errorf("flannel is offered as %+v", got)
	}
	if got := known.Ingresses["ingress-nginx"].Modes; !slices.Equal(got, []string{"LoadBalancer", "NodePort"}) {
		t.Errorf("ingress-nginx is offered with %v", got)
	}
	if got := known.LoadBalancers["metallb"].Modes; !slices.Equal(got, []string{"l2"}) {
		t.Errorf("metallb is offered with %v", got)
	}
	if got := known.CNIs["calico"]; !slices.Equal(got.Options["encapsulation"], []string{"vxlan", "none"}) {
		t.Errorf("calico is offered as %+v", got)
	}
}

func TestSupports(t *testing.T) {
	c := load(t)
	for backend, overhead := range map[string]int{"vxlan": 50, "host-gw": 0} {
		p := quickstart(c)
		p.CNI.Options["backend"] = backend
		if s := c.Supports(p, Artifacts{}); s.EncapOverhead != overhead || s.NetworkPolicy || s.L7Reason == "" {
			t.Errorf("flannel with %s claims %+v", backend, s)
		}
	}
	p := quickstart(c)
	p.CNI.Options = nil // the defaults hold
	if s := c.Supports(p, Artifacts{}); s.EncapOverhead != 50 {
		t.Errorf("flannel without options claims %+v", s)
	}
}

// The agent's image is named after the executable that it holds.
func TestAgentOfExecutable(t *testing.T) {
	refs := map[string]bool{}
	for _, text := range []string{"one", "other", "one"} {
		r := Resolver{Catalog: load(t), Self: filepath.Join(t.TempDir(), "netlab")}
		if err := os.WriteFile(r.Self, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		ref, err := r.Agent()
		if err != nil || !strings.HasPrefix(ref, "netlab.dev/agent:") {
			t.Fatalf("%q, %v", ref, err)
		}
		refs[ref] = true
	}
	if len(refs) != 2 {
		t.Errorf("two executables have agents %v", refs)
	}
}
