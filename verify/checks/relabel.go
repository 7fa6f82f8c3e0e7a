package checks

import (
	"cmp"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// PolicyRelabel is the path of a Pod whose label changes while a policy is in force.
const PolicyRelabel = "policy-relabel"

// The label that PolicyRelabel changes. No other path depends on it.
const (
	RelabelKey   = "netlab.dev/relabelled"
	RelabelValue = "true"
)

// relabel is the entry of a policy that allows what has a label, to a client that gets it and
// loses it. What is asserted depends on the CNI: one that maps labels to identities may take
// half a minute each way.
func relabel() Check {
	c := policyAfter(PolicyRelabel, "the label of a client changes while the policy is in force", PolicyAllowLabel,
		func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
			n.Spec.Ingress = ingressFrom(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{RelabelKey: RelabelValue}}})
			return []Leg{leg(observe.AtPod(s.Pods.Subject(PolicyDefaultDeny)), subject)}, nil
		})
	rows, scenario := c.Rows, c.Policy.Scenario
	c.Policy.Scenario = func(s observe.Snapshot) Scenario {
		x := scenario(s)
		x.Relabel = true
		return x
	}
	c.Thorough = true
	c.Asserts = []Assertion{Relabelled{}}
	c.Rows = func(l Lab) []Row {
		out := rows(l)
		if !l.Support.NetworkPolicy {
			out[0].Skip = cmp.Or(l.Support.L7Reason, "the CNI enforces no NetworkPolicy")
		}
		return out
	}
	return c
}

// RelabelBound is how long a changed label may take until policies are decided by it.
func RelabelBound(s observe.Snapshot, policy time.Duration) time.Duration {
	return max(time.Duration(s.Support.RelabelSeconds)*time.Second, policy)
}

// Relabelled asserts that a changed label is decided by, both ways. It is judged while the
// policy is in force (see verify/run).
type Relabelled struct{ alone }

func (Relabelled) String() string {
	return "seconds until a client that gets a label is allowed, and until it is denied without it, at most as many as the CNI's component says; with `--thorough`"
}

// Judge returns nothing: a probe at one moment does not prove a change.
func (Relabelled) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }
