package checks

import (
	"cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// fqdn is the entry of a policy that allows a Pod to reach one DNS name outside, and nothing
// else but DNS: neither another outside host, nor a Pod. It selects a Pod that is nobody's client.
func fqdn() Check {
	scenario := func(s observe.Snapshot) Scenario {
		subject := observe.AtPod(s.Pods.Subject(PolicyEgressDeny))
		x := Scenario{Denied: []Leg{leg(subject, other(s))}, Denial: Silence}
		for _, m := range outsideTargets(s.Plan, subject.Node) {
			to := leg(subject, observe.AtHost(m))
			if m.Name == workload.OutsideHost(s.Plan) {
				to.Name = workload.OutsideName(s.Plan)
				x.Allowed = append(x.Allowed, to)
			} else if len(x.Denied) == 1 {
				x.Denied = append(x.Denied, to)
			}
		}
		return x
	}
	return Check{
		ID: PolicyFQDN, Section: sectionPolicies, Title: "DNS policy: a Pod may reach one DNS name outside; skipped where the CNI has none",
		Rows: func(l Lab) []Row {
			x := scenario(l.planned())
			why := ""
			switch {
			case !l.Support.FQDNPolicy:
				why = cmp.Or(l.Support.FQDNReason, "the CNI has no policy by DNS name")
			case len(x.Allowed) == 0:
				why = noInternet
			default:
				why = l.nameless(workload.OutsideName(l.Plan))
			}
			r := reach(x.Denied[0].From, x.Denied[0].To).over(agent.HTTP)
			if why != "" {
				r = skip("Pod", "DNS name", why)[0]
			}
			r.Expected = report.Enforced
			return []Row{r}
		},
		Asserts:  []Assertion{Steps{Denial: Silence}},
		Suspects: []Suspect{lostPackets},
		Policy:   &Policy{After: PolicyEgressDeny, Scenario: scenario},
	}
}

// FQDNRule is the rule that PolicyFQDN tests for a plan.
func FQDNRule(plan topology.Plan) components.FQDNRule {
	return components.FQDNRule{Namespace: workload.Namespace, Name: PolicyFQDN, Label: workload.LabelPolicy, Value: PolicyEgressDeny, FQDN: workload.OutsideName(plan)}
}

// OwnPolicies are the objects of the policies that are specific to a lab's CNI, by path: of
// those that it supports.
func OwnPolicies(set components.Set, support components.Support) (map[string]unstructured.Unstructured, error) {
	own := map[string]unstructured.Unstructured{}
	if support.L7Policy {
		o, err := set.L7Policy(L7Rule(set.Plan))
		if err != nil {
			return nil, err
		}
		own[PolicyL7] = o
	}
	if support.FQDNPolicy {
		o, err := set.FQDNPolicy(FQDNRule(set.Plan))
		if err != nil {
			return nil, err
		}
		own[PolicyFQDN] = o
	}
	return own, nil
}
