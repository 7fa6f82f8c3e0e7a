package checks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// TestSeparated: a path that the networks of the lab file separate is skipped with the reason,
// and no other is.
func TestSeparated(t *testing.T) {
	const networks = "networks: [{name: lan, cidr: 172.30.0.0/24}, {name: storage, cidr: 172.31.0.0/24}, {name: wan, cidr: 203.0.113.0/24}]\n"
	const nodes = "nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, count: 2, networks: [lan, storage]}]\n"
	const nas = "{name: nas, role: client, networks: [storage]}"
	const routed = "{name: router, role: router, networks: [lan, wan]}, {name: internet, role: internet, networks: [wan]}"
	const client = "{name: client, role: client, networks: [lan]}"
	all := plantest.Flannel()
	noLAN := "nas has no route to 172.30.0.0/24"
	rows := []struct {
		name    string
		text    string
		support components.Support
		want    map[string]string // from, path and end → reason; "" where the row is asked
	}{
		{"a client on a network without router", networks + nodes + "hosts: [" + routed + ", " + client + ", " + nas + "]\n", all, map[string]string{
			"nas outside-to-nodeport echo-nodeport w1": noLAN, "nas outside-to-nodeport echo-nodeport cp": noLAN,
			"nas outside-to-loadbalancer echo-lb ": noLAN, "nas outside-to-ingress-http a.netlab.test/one ": noLAN,
			"nas outside-to-clusterip echo ": "nas has no route to 10.96.0.0/16", "nas outside-to-pod echo-w1 w1": "nas has no route to 10.244.0.0/16",
			"client outside-to-nodeport echo-nodeport w1": "", "client outside-to-clusterip echo ": "", "client outside-to-pod echo-w1 w1": "",
			"echo-cp pod-to-outside internet ": "", "echo-w1 dns-external internet.outside.test ": "",
		}},
		{"NodePorts at every address of a Node", "kubernetes: {proxy: iptables}\n" + networks + nodes + "hosts: [" + routed + ", " + nas + "]\n", all, map[string]string{
			"nas outside-to-nodeport echo-nodeport w1": "", "nas outside-to-nodeport echo-nodeport-local w2": "", "nas outside-to-nodeport echo-nodeport cp": noLAN,
		}},
		{"Ingress by NodePort, only a worker is near", "kubernetes: {proxy: iptables}\nloadBalancer: {name: none}\n" + networks + nodes + "hosts: [" + nas + "]\n", all, map[string]string{
			"nas outside-to-ingress-http a.netlab.test/one ": "", "echo-w1 pod-to-outside nas ": "",
			"echo-cp pod-to-outside nas ": "cp has no route to 172.31.0.0/24",
		}},
		{"routers that share no network", networks + "nodes: [{name: cp, role: control-plane, networks: [lan]}]\nhosts: [" + client + ", {name: internet, role: internet, networks: [wan]}, {name: r, role: router, networks: [storage, wan]}]\n", all, map[string]string{
			"echo-cp pod-to-outside client ": "", "echo-cp dns-external internet.outside.test ": "cp has no route to 203.0.113.0/24",
			"echo-cp pod-to-externalname outside ": "cp has no route to 203.0.113.0/24", "client outside-to-loadbalancer echo-lb ": "",
		}},
		{"pools in two networks", networks + nodes + "hosts: [" + routed + ", " + client + ", " + nas + "]\nloadBalancer: {pools: [172.31.0.200-172.31.0.209, 172.30.0.200-172.30.0.209]}\n", all, map[string]string{
			"nas outside-to-loadbalancer echo-lb ": "", "nas outside-to-loadbalancer echo-lb-2 ": noLAN, "nas outside-to-ingress-https b.netlab.test/two ": "",
			"client outside-to-loadbalancer echo-lb ": "router has no route to 172.31.0.0/24", "client outside-to-loadbalancer echo-lb-2 ": "",
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := map[string]string{}
			for _, x := range Rows(plantest.Of(t, r.text), r.support) {
				got[fmt.Sprintf("%s %s %s %s", x.From.Name, x.ID, x.To.Name, x.To.Node)] = x.Skip
			}
			for row, want := range r.want {
				if skip, there := got[row]; !there || skip != want {
					t.Errorf("%s: %q, want %q (there: %t)", row, skip, want, there)
				}
			}
		})
	}
}

// TestMeasurementsAskFromWhoReaches: the client of a measurement is one that the networks lead
// to its server.
func TestMeasurementsAskFromWhoReaches(t *testing.T) {
	plan := plantest.Of(t, `networks: [{name: lan, cidr: 172.30.0.0/24}, {name: storage, cidr: 172.31.0.0/24}]
nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan, storage]}]
hosts: [{name: nas, role: client, networks: [storage]}, {name: client, role: client, networks: [lan]}]
`)
	for _, r := range Measurements(plan, plantest.Flannel(), nil, Routes()) {
		if r.From.Kind == report.AtHost && (r.From.Name != "client" || r.Skip != "") {
			t.Errorf("%s is measured from %s (%s)", r.ID, r.From.Name, r.Skip)
		}
	}
}

// TestLocalEndpointIsWhereItsVIPIs: under externalTrafficPolicy Local only a Node with an
// endpoint announces a VIP, so the one endpoint is on a Node that can.
func TestLocalEndpointIsWhereItsVIPIs(t *testing.T) {
	for edge, nodes := range map[string]string{
		"edge": "{name: cp, role: control-plane, networks: [lan]}, {name: app, role: worker, networks: [lan]}, {name: edge, role: worker, networks: [lan, dmz]}",
		"cp":   "{name: app, role: worker, networks: [lan]}, {name: cp, role: control-plane, networks: [lan, dmz]}",
	} {
		plan := plantest.Of(t, `networks: [{name: lan, cidr: 172.30.0.0/24}, {name: dmz, cidr: 192.168.50.0/24}]
nodes: [`+nodes+`]
hosts: []
loadBalancer: {pools: [192.168.50.200-192.168.50.219]}
`)
		single := slices.DeleteFunc(Pods(plan).Echo, func(p workload.Pod) bool { return !strings.Contains(fmt.Sprint(p.Labels), "single") })
		if len(single) != 1 || single[0].Node != edge {
			t.Errorf("the one endpoint is %+v, want it on %s", single, edge)
		}
	}
}
