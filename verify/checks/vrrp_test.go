package checks

import (
	"strings"
	"testing"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
)

// The VIP of a pair is held by the first host that is on, and by it alone; the Ingress is asked at
// the VIP too, as long as one of the pair is on.
func TestSharedVIP(t *testing.T) {
	plan := plantest.Plan(t, "haproxy")
	mac := map[string]string{}
	for _, m := range plan.Machines {
		mac[m.Name] = m.NICs[0].MAC
	}
	for _, c := range []struct {
		off, answer string
		ok          bool
	}{
		{"", "lb1", true}, {"", "lb2", false}, {"", "lb1 lb2", false}, {"", "client", false},
		{"lb1", "lb2", true}, {"lb2", "lb1", true}, {"lb1", "lb1", false},
	} {
		s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{Off: strings.Fields(c.off)}, nil, nil)
		r := rowTo(t, s, VRRPVIP, "172.30.0.90")
		asks, err := AsksOf(s, r)
		if err != nil || len(asks) != 1 || asks[0].Probe.Kind != agent.ARP || asks[0].Probe.Target != "172.30.0.90" || asks[0].From.Name != "router" {
			t.Fatalf("asked is %+v (%v)", asks, err)
		}
		a := agent.Answer{Outcome: agent.Reply}
		for _, name := range strings.Fields(c.answer) {
			a.MACs = append(a.MACs, mac[name])
		}
		f := Judge(s, r, Answers{PartMain: {Outcome: agent.Reply, Answers: []agent.Answer{a}}})
		if (f.Outcome == "pass") != c.ok {
			t.Errorf("off %q, ARP answered by %q: %s %s", c.off, c.answer, f.Outcome, f.Reason)
		}
	}
	for off, want := range map[string]string{"lb1": "", "lb1 lb2": "lb1 is off"} {
		s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{Off: strings.Fields(off)}, nil, nil)
		r := rowTo(t, s, OutsideToLBByHand, "a.netlab.test/one")
		r.Through = "172.30.0.90"
		asks, err := AsksOf(s, r)
		if want == "" && (err != nil || asks[0].Probe.Target != "http://172.30.0.90:80/one") || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("off %s: asked is %+v (%v), want %q", off, asks, err, want)
		}
	}
}
