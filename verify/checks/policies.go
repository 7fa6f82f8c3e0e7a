package checks

import (
	"cmp"
	"net/http"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths that test a policy.
const (
	PolicyDefaultDeny    = "policy-default-deny"
	PolicyAllowLabel     = "policy-allow-label"
	PolicyAllowNamespace = "policy-allow-namespace"
	PolicyAllowPort      = "policy-allow-port"
	PolicyEgressDeny     = "policy-egress-deny"
	PolicyNamedPort      = "policy-named-port"
	PolicyPortRange      = "policy-port-range"
	PolicyIPBlock        = "policy-ipblock"
	PolicyFQDN           = "policy-fqdn"
	PolicyL7             = "policy-l7"
)

// Policy is a path that applies and removes a policy between two positive controls.
type Policy struct {
	Subject  *workload.Subject // the Pod that it selects; nil: that of another policy
	After    string            // the id of that policy, which runs before it
	Scenario func(observe.Snapshot) Scenario
}

// Pod is the name of the Pod that the policy selects. Policies that share one run one after
// the other where policies are enforced.
func (p Policy) Pod() string {
	if p.Subject != nil {
		return p.Subject.Name
	}
	return p.After
}

// Scenario is one policy with the connections that show its effect: those that it denies,
// and those that it must allow.
type Scenario struct {
	Policy  *networkingv1.NetworkPolicy // nil: the object is specific to the CNI (see OwnPolicies)
	Denied  []Leg
	Allowed []Leg
	Denial  Denial
	Relabel bool // it denies its one leg until the client has the label of PolicyRelabel
}

// Denial is how a denied connection fails.
type Denial string

// The kinds of denial.
const (
	Silence   Denial = "silence"            // no reply, or a reset
	Forbidden Denial = "403 from the proxy" // by a proxy; no reply does not count
)

// Leg is one connection of a scenario, between two agents.
type Leg struct {
	From, To     observe.Ref
	Kind         string // http or tcp; each has its own port
	Method, Path string // http; GET of / by default
	Name         string // DNS name at which to ask To, an outside host; "": at its address
}

// Request is the HTTP request of a leg.
func (l Leg) Request() string { return l.Method + " " + l.Path }

// leg is an HTTP leg.
func leg(from, to observe.Ref) Leg { return Leg{From: from, To: to, Kind: agent.HTTP} }

// frontend is the Pod that has the label app: frontend.
func frontend(s observe.Snapshot) observe.Ref { return observe.AtPod(s.Pods.Echo[0]) }

// other is a Pod that has not.
func other(s observe.Snapshot) observe.Ref { return observe.AtPod(s.Pods.Echo[len(s.Pods.Echo)-1]) }

// shape completes a NetworkPolicy, which selects its subject and denies all ingress, and
// returns its legs. While rows are derived from a plan, the snapshot has no addresses.
type shape func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg)

func policies() []Check {
	return []Check{
		policy(PolicyDefaultDeny, "all ingress is denied", workload.Subject{},
			func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
				return []Leg{leg(other(s), subject)}, []Leg{leg(other(s), frontend(s))} // other Pods are not affected
			}),
		policy(PolicyAllowLabel, "only app: frontend may reach app: nginx", workload.Subject{Labels: map[string]string{workload.LabelApp: "nginx"}},
			func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
				n.Spec.Ingress = ingressFrom(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{workload.LabelApp: "frontend"}}})
				n.Spec.PodSelector.MatchLabels = map[string]string{workload.LabelApp: "nginx"}
				return []Leg{leg(other(s), subject)}, []Leg{leg(frontend(s), subject)}
			}),
		policy(PolicyAllowNamespace, "only one namespace may reach the Pod", workload.Subject{},
			func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
				n.Spec.Ingress = ingressFrom(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
					MatchLabels: map[string]string{"kubernetes.io/metadata.name": workload.GuestsNamespace}}})
				return []Leg{leg(other(s), subject)}, []Leg{leg(observe.AtPod(s.Pods.Visitor), subject)}
			}),
		policy(PolicyAllowPort, "only one port of the Pod is allowed", workload.Subject{},
			func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
				port := intstr.FromInt32(agent.PortHTTP)
				n.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}}
				return []Leg{{From: other(s), To: subject, Kind: agent.TCP}}, []Leg{leg(other(s), subject)}
			}),
		policy(PolicyEgressDeny, "all egress is denied", workload.Subject{Isolated: true},
			func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
				n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
				return []Leg{leg(subject, other(s))}, []Leg{leg(other(s), subject)}
			}),
		namedPort(),
		portRange(),
		ipBlock(),
		fqdn(),
		relabel(),
		l7(),
	}
}

func ingressFrom(peer networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyIngressRule {
	return []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer}}}
}

const sectionPolicies = "Policies"

// policy is the table's entry of a NetworkPolicy, which selects a Pod that has its id as its
// name.
func policy(id, what string, subject workload.Subject, complete shape) Check {
	subject.Name = id
	return Policy{Subject: &subject}.entry(id, what, complete)
}

// policyAfter is that of one which selects the Pod of another policy, and runs after it.
func policyAfter(id, what, after string, complete shape) Check {
	return Policy{After: after}.entry(id, what, complete)
}

func (p Policy) entry(id, what string, complete shape) Check {
	p.Scenario = func(s observe.Snapshot) Scenario {
		n := &networkingv1.NetworkPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: workload.OwnMeta(workload.Namespace, id, nil),
			Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{workload.LabelPolicy: p.Pod()}},
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
		}
		denied, allowed := complete(s, observe.AtPod(s.Pods.Subject(p.Pod())), n)
		return Scenario{Policy: n, Denied: denied, Allowed: allowed, Denial: Silence}
	}
	return Check{
		ID: id, Section: sectionPolicies, Title: "NetworkPolicy: " + what,
		Rows: func(l Lab) []Row {
			denied := p.Scenario(l.planned()).Denied[0]
			r := reach(denied.From, denied.To).over(denied.Kind)
			r.Expected = report.Enforced
			if !l.Support.NetworkPolicy {
				r.Expected = report.NotEnforced
			}
			return []Row{r}
		},
		Asserts:  []Assertion{Steps{Denial: Silence}},
		Suspects: []Suspect{lostPackets},
		Policy:   &p,
	}
}

// planned is the snapshot of a lab as far as its plan determines it.
func (l Lab) planned() observe.Snapshot {
	return observe.Snapshot{Plan: l.Plan, Support: l.Support, Pods: l.Pods}
}

// l7Path is the one path that the L7 policy allows, by GET.
const l7Path = "/public"

// l7 is the table's entry of the L7 policy: from one client to one Pod, on one port, so that
// its legs differ by the request alone. It selects the Pod of PolicyAllowPort.
func l7() Check {
	scenario := func(s observe.Snapshot) Scenario {
		from, to := other(s), observe.AtPod(s.Pods.Subject(PolicyAllowPort))
		request := func(method, path string) Leg {
			return Leg{From: from, To: to, Kind: agent.HTTP, Method: method, Path: path}
		}
		return Scenario{Denied: []Leg{request(http.MethodGet, "/private"), request(http.MethodPost, l7Path)},
			Allowed: []Leg{request(http.MethodGet, l7Path)}, Denial: Forbidden}
	}
	return Check{
		ID: PolicyL7, Section: sectionPolicies, Title: "L7 policy: one HTTP method and path of a Pod is allowed",
		Rows: func(l Lab) []Row {
			if !l.Support.L7Policy {
				r := skip("Pod", "Pod", cmp.Or(l.Support.L7Reason, "the CNI has no L7 policy"))[0]
				r.Expected = report.Enforced
				return []Row{r}
			}
			denied := scenario(l.planned()).Denied[0]
			r := reach(denied.From, denied.To).over(denied.Kind)
			r.Expected = report.Enforced
			return []Row{r}
		},
		Asserts:  []Assertion{Steps{Denial: Forbidden}},
		Suspects: []Suspect{lostPackets},
		Policy:   &Policy{After: PolicyAllowPort, Scenario: scenario},
	}
}

// L7Rule is the rule that PolicyL7 tests for a plan. The object that expresses it depends on
// the CNI.
func L7Rule(plan topology.Plan) components.HTTPRule {
	subject := l7().Policy.Scenario(observe.Snapshot{Plan: plan, Pods: Pods(plan)}).Allowed[0].To
	return components.HTTPRule{Namespace: workload.Namespace, Name: PolicyL7, Label: workload.LabelPolicy, Value: subject.Name,
		Port: agent.PortHTTP, Method: http.MethodGet, Path: l7Path}
}

// Steps asserts that a policy is enforced where the CNI supports it, and has no effect
// elsewhere. It is judged while the policy is applied and removed (see verify/run).
type Steps struct {
	alone
	Denial Denial
}

func (x Steps) String() string {
	if x.Denial == Forbidden {
		return "denied requests get 403 from a proxy, between two positive controls; seconds until the policy takes effect and until it ends; skipped where the CNI has no L7 policy"
	}
	return "denied connections get no reply (a reply where the CNI does not enforce policies), between two positive controls; seconds until the policy takes effect and until it ends"
}

// Judge returns nothing: a probe at one moment does not prove a policy.
func (Steps) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }
