package artifacts

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

func load(t *testing.T) components.Catalog {
	t.Helper()
	c, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// quickstart is a set with one component of each kind.
func quickstart(t *testing.T, change ...func(*topology.Plan)) components.Set {
	t.Helper()
	p := topology.Plan{Lab: labs.MustName("quickstart")}
	p.Kubernetes.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	p.Kubernetes.Proxy = "nftables"
	p.CNI = labs.CNI{Name: "flannel", Options: map[string]string{"backend": "vxlan"}}
	p.LoadBalancer = topology.LoadBalancer{Name: "metallb", Mode: "l2", Pools: []topology.Pool{
		{Network: "lan", First: netip.MustParseAddr("172.30.0.200"), Last: netip.MustParseAddr("172.30.0.219")}}}
	p.Ingress = labs.Ingress{Name: "ingress-nginx", Service: "LoadBalancer"}
	c := load(t)
	p.Kubernetes.Version = c.Known().Kubernetes[0].Version
	for _, f := range change {
		f(&p)
	}
	set, err := c.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// everything is a set of every component.
func everything(c components.Catalog) components.Set {
	_, sets := c.Sets()
	return sets[0]
}

// named returns one component of a set.
func named(t *testing.T, set components.Set, name string) components.Component {
	t.Helper()
	k, ok := set.Find(name)
	if !ok {
		t.Fatalf("the set has no %s", name)
	}
	return k
}

// The agent's image is named after the executable that it holds.
func TestAgentOfExecutable(t *testing.T) {
	refs := map[string]bool{}
	for _, text := range []string{"one", "other", "one"} {
		r := Cache{Self: filepath.Join(t.TempDir(), "netlab")}
		if err := os.WriteFile(r.Self, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		ref, err := r.Agent(load(t))
		if err != nil || !strings.HasPrefix(ref, "netlab.dev/agent:") {
			t.Fatalf("%q, %v", ref, err)
		}
		refs[ref] = true
	}
	if len(refs) != 2 {
		t.Errorf("two executables have agents %v", refs)
	}
}
