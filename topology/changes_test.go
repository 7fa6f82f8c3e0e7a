package topology_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

// TestCompare: each change of a lab file affects what it must and nothing else.
func TestCompare(t *testing.T) {
	build := func(change func(*labs.Lab)) topology.Plan {
		lab := labs.Default(labs.MustName("changes"), labstest.Known())
		change(&lab)
		plan, err := topology.Build(lab)
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	same := func(*labs.Lab) {}
	machines := func(cpus int) topology.Plan {
		return build(func(l *labs.Lab) { l.Provider, l.Sections["vm"].(*labstest.VM).CPUs = "vm", cpus })
	}
	if got := topology.Compare(machines(2), machines(3)).Lines(); !slices.Equal(got, []string{"recreate the cluster: vm.cpus changes from 2 to 3"}) {
		t.Errorf("more CPUs: %q", got)
	}
	several := func(count int) func(*labs.Lab) {
		return func(l *labs.Lab) {
			l.Nodes[0].Count = count
			l.Hosts = append(l.Hosts, labs.Host{Name: "lb", Role: topology.RoleAPILB, Networks: []string{"lan"}})
		}
	}
	if got := topology.Compare(build(several(3)), build(several(5))).Lines(); len(got) == 0 || !slices.Contains(got, "recreate the cluster: control plane cp4 is new") {
		t.Errorf("three control planes become five by %q", got)
	}
	for _, c := range []struct {
		name   string
		change func(*labs.Lab)
		want   []string // of Lines; the first words suffice
	}{
		{"nothing", same, nil},
		{"a worker more", func(l *labs.Lab) { l.Nodes[1].Count = 3 }, []string{"add machine w3"}},
		{"a worker less", func(l *labs.Lab) { l.Nodes[1].Count = 1 }, []string{"remove machine w2"}},
		{"three control planes", several(3), []string{"recreate the cluster: kubernetes.api changes from 172.30.0.10:6443 to 172.30.0.101:6443", "recreate the cluster: control plane cp: is removed",
			"recreate the cluster: control plane cp1 is new", "recreate the cluster: control plane cp2 is new", "recreate the cluster: control plane cp3 is new"}},
		{"another pool", func(l *labs.Lab) { l.LoadBalancer.Pools = []string{"172.30.0.230-172.30.0.239"} }, []string{"configure loadBalancer pools"}},
		{"repeats", func(l *labs.Lab) { l.Verify.Throughput.Repeats = 2 }, []string{"configure verification"}},
		{"hostAccess", func(l *labs.Lab) { l.HostAccess = true }, []string{"configure hostAccess"}},
		{"limits", func(l *labs.Lab) { l.Limits.Processes = 5000 }, []string{"configure limits"}},
		{"the CNI's mode", func(l *labs.Lab) { l.CNI.Options = map[string]string{"backend": "host-gw"} }, []string{"recreate the cluster: cni.options.backend changes from vxlan to host-gw"}},
		{"the Pod CIDR", func(l *labs.Lab) { l.Kubernetes.PodCIDR = netip.MustParsePrefix("10.99.0.0/16") }, []string{"recreate the cluster: kubernetes.podCIDRs changes from 10.244.0.0/16 to 10.99.0.0/16"}},
		{"another CNI", func(l *labs.Lab) { l.CNI = labs.CNI{Name: "cilium", Version: "v1.20.2"} }, []string{"recreate the cluster: cni.name changes from flannel to cilium",
			"recreate the cluster: cni.options.backend is removed (was vxlan)", "recreate the cluster: cni.version changes from v0.28.4 to v1.20.2"}},
		{"another version of each", func(l *labs.Lab) { l.CNI.Version, l.LoadBalancer.Version, l.Ingress.Version = "v9", "v8", "v7" }, []string{
			"update in place: cni.version changes from v0.28.4 to v9", "update in place: loadBalancer.version changes from ", "update in place: ingress.version changes from "}},
		{"another version and a worker more", func(l *labs.Lab) { l.CNI.Version, l.Nodes[1].Count = "v9", 3 }, []string{"add machine w3", "update in place: cni.version changes from v0.28.4 to v9"}},
		{"another provider", func(l *labs.Lab) { l.Provider = "kind" }, []string{"recreate the cluster: provider changes from netns to kind"}},
		{"an MTU", func(l *labs.Lab) { l.Networks[1].MTU = 1400 }, []string{"recreate machine router: networks.wan.mtu changes from 1500 to 1400", "recreate machine internet: networks.wan.mtu changes from 1500 to 1400", "configure networks"}},
		{"an MTU of the Nodes", func(l *labs.Lab) { l.Networks[0].MTU = 9000 }, []string{"recreate the cluster: control plane cp: networks.lan.mtu changes from 1500 to 9000"}},
		{"a NIC more on the control plane", func(l *labs.Lab) { l.Nodes[0].Networks = []string{"lan", "wan"} },
			[]string{"recreate the cluster: control plane cp: networks.wan is set to eth1 203.0.113."}},
		{"a NIC more on a worker", func(l *labs.Lab) { l.Nodes[1].Networks = []string{"lan", "wan"} },
			[]string{"recreate machine w1: networks.wan is set to eth1 203.0.113.", "recreate machine w2: networks.wan is set to eth1 203.0.113."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := topology.Compare(build(same), build(c.change)).Lines()
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("changes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
