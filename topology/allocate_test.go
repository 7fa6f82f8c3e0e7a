package topology

import (
	"fmt"
	"strings"
	"testing"

	"netlab.dev/netlab/labs/labstest"
)

func TestDefaultPool(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"small network":       {"networks: [{name: n, cidr: 10.0.0.0/28}]", "[{n 10.0.0.12 10.0.0.14}]"},
		"large network":       {"networks: [{name: n, cidr: 10.0.0.0/8}]\nkubernetes: {podCIDR: 11.0.0.0/8, serviceCIDR: 12.0.0.0/16}", "[{n 10.0.0.200 10.0.0.219}]"},
		"where the Nodes are": {"networks: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.1.0/24}]\nnodes: [{name: n, role: control-plane, networks: [b]}]", "[{b 10.0.1.200 10.0.1.219}]"},
		"no load balancer":    {"loadBalancer: {name: none}", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(planOf(t, c.file+"\n").LoadBalancer.Pools); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Problems of address allocation are reported with those of the file, in the order of lines.
func TestLoadReportsAllProblems(t *testing.T) {
	_, err := Load("lab.yaml", []byte(`apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: x}
networks: [{name: lan, cidr: 10.0.0.0/29}]
nodes:
  - {name: cp, role: control-plane}
  - {name: w, role: worker, count: 6}
hosts: [{name: c, role: cleint}]
loadBalancer:
  pools:
    - 10.0.0.2-10.0.0.3
cni: {name: flanel}
`), labstest.Known())
	want := []string{
		"lab.yaml:7: nodes[1]: network lan (10.0.0.0/29) has no free address for w5; use a shorter prefix or fewer machines",
		"lab.yaml:7: nodes[1]: network lan (10.0.0.0/29) has no free address for w6; use a shorter prefix or fewer machines",
		`lab.yaml:8: hosts[0].role: "cleint" is not a host role; did you mean client?`,
		"lab.yaml:11: loadBalancer.pools[0]: 10.0.0.2-10.0.0.3 covers 10.0.0.2, the address of cp; use a larger network: machines get their addresses first",
		`lab.yaml:12: cni.name: "flanel" is not a known CNI; did you mean flannel?`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}
