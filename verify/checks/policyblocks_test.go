package checks

import (
	"strings"
	"testing"

	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// TestIPBlock: a Pod inside the CIDR is allowed where an ipBlock selects Pods, and denied
// where it does not; the exceptions are denied everywhere, and so is only an outside host
// that the Node reaches.
func TestIPBlock(t *testing.T) {
	entry, _ := Find(PolicyIPBlock)
	for _, c := range []struct {
		outside         bool // the lab has outside hosts
		selects         bool
		denied, allowed string
	}{
		{true, true, "echo-cp→policy-egress-deny policy-egress-deny→internet", "echo-w1→policy-egress-deny policy-egress-deny→client"},
		{true, false, "echo-cp→policy-egress-deny echo-w1→policy-egress-deny policy-egress-deny→internet", "policy-egress-deny→client"},
		{false, false, "echo-cp→policy-egress-deny echo-w1→policy-egress-deny", "echo-cp→echo-w1"},
	} {
		plan := plantest.Plan(t, "quickstart")
		if !c.outside {
			plan.Machines = plan.Nodes()
		}
		s := observe.Snapshot{Plan: plan, Support: plantest.Enforcing(), Pods: Pods(plan), PodIPs: map[string]string{}}
		s.Support.IPBlockPods = c.selects
		s.PodIPs[s.Pods.Echo[len(s.Pods.Echo)-1].Name] = "10.244.0.9"
		play := entry.Policy.Scenario(s)
		ends := func(legs []Leg) string {
			var out []string
			for _, l := range legs {
				out = append(out, l.From.Name+"→"+l.To.Name)
			}
			return strings.Join(out, " ")
		}
		if denied, allowed := ends(play.Denied), ends(play.Allowed); denied != c.denied || allowed != c.allowed {
			t.Errorf("outside hosts %t, selects Pods %t: denied %s, allowed %s; want %s and %s", c.outside, c.selects, denied, allowed, c.denied, c.allowed)
		}
		block := play.Policy.Spec.Ingress[0].From[0].IPBlock
		if block.CIDR != plan.Kubernetes.PodCIDR().String() || block.Except[0] != "10.244.0.9/32" {
			t.Errorf("ingress from %+v", block)
		}
		for _, l := range play.Denied {
			if l.To.Kind == report.AtHost && play.Policy.Spec.Egress[0].To[0].IPBlock.Except[0] != s.MachineIP(l.To.Name)+"/32" {
				t.Errorf("egress to %+v", play.Policy.Spec.Egress[0].To[0].IPBlock)
			}
		}
	}
}
