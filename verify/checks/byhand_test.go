package checks

import (
	"testing"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
)

// The Ingress is asked at the load balancer's address; a load balancer that is off is why there is none.
func TestThroughLoadBalancers(t *testing.T) {
	plan := plantest.Plan(t, "haproxy")
	s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
	found := map[string]bool{}
	for _, r := range Rows(plan, plantest.Flannel()) {
		if r.ID != OutsideToLBByHand {
			continue
		}
		asks, err := AsksOf(s, r)
		if err != nil || len(asks) != 1 {
			t.Fatalf("asked is %+v (%v)", asks, err)
		}
		found[asks[0].Probe.Target+" "+asks[0].Probe.Host] = true
		if r.Protocol == agent.HTTPS {
			continue
		}
		off := s
		off.Off, off.Away = []string{r.Through}, map[string]string{r.Through: r.Through + " is off"}
		if _, err := AsksOf(off, r); err == nil || err.Error() != r.Through+" is off" {
			t.Errorf("without %s: %v", r.Through, err)
		}
	}
	for _, want := range []string{"http://172.30.0.100:80/one a.netlab.test", "https://172.30.0.101:443/two b.netlab.test", "http://172.30.0.101:80/ nosuch.netlab.test"} {
		if !found[want] {
			t.Errorf("%s is not asked: %v", want, found)
		}
	}
	if len(found) != 20 {
		t.Errorf("%d requests", len(found))
	}
}
