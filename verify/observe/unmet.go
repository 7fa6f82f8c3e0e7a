package observe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/workload"
)

// Unmet is a condition that the paths require and that does not hold.
type Unmet struct {
	What   string // "pod/echo-w1", "service/echo-lb", "dns", "ingress"
	Why    string
	Futile bool // waiting will not help
}

// quiet is how long a cluster in which something is missing may show no change before it
// counts as stuck. On a slow machine each step is slow.
const quiet = 15 * time.Second

// away limits the wait while a Node is off, not registered or not Ready: what was on it does not
// come back meanwhile, and what moves to other Nodes may take minutes.
const away = 5 * time.Second

// denied is after how long the user's policies are read: a load balancer that they keep from the API
// server assigns no VIP, however long one waits.
const denied = 3 * time.Second

// Await waits until nothing is missing, until waiting will not help, until nothing has
// changed for a while, or for at most bound. It returns what is still missing.
func (c *Cluster) Await(ctx context.Context, plan topology.Plan, pods workload.Pods, bound time.Duration) []Unmet {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	quiet := plan.Limit(quiet, 10*quiet)
	still := time.NewTimer(quiet)
	defer still.Stop()
	// A cluster whose pools were changed by hand never moves its VIPs to the plan's pools:
	// the wait for that is as long, whatever else changes.
	var moving, down <-chan time.Time
	look := time.NewTicker(plan.Limit(denied, 10*denied))
	defer look.Stop()
	var policies State
	for stuck := false; !stuck && ctx.Err() == nil; {
		s := c.State()
		s.Policies, s.namespaces = policies.Policies, policies.namespaces
		if down == nil && s.nodeAway(plan) {
			down = time.After(plan.Limit(away, 10*away))
		}
		missing := slices.ContainsFunc(UnmetOf(s, plan, pods), func(l Unmet) bool { return !l.Futile })
		if !missing && !s.movingVIP(plan) {
			break
		}
		if !missing && moving == nil {
			moving = time.After(quiet)
		}
		select {
		case <-c.changed:
			still.Reset(quiet)
		case <-still.C:
			stuck = true
		case <-moving:
			stuck = !missing
		case <-look.C:
			policies = c.StateWithPolicies(ctx)
		case <-down:
			stuck = true
		case <-ctx.Done():
		}
	}
	if len(UnmetOf(c.State(), plan, pods)) == 0 {
		return nil
	}
	return UnmetOf(c.StateWithEvents(context.WithoutCancel(ctx)), plan, pods)
}

// movingVIP reports whether a Service still has a VIP outside the plan's pools: after a pool
// was changed the load balancer takes a moment to assign new ones.
func (s State) movingVIP(plan topology.Plan) bool {
	services := []*corev1.Service{s.ingressService()}
	for _, spec := range workload.ServiceSpecs(plan) {
		services = append(services, s.Service(workload.Namespace, spec.Name))
	}
	return slices.ContainsFunc(services, func(x *corev1.Service) bool {
		if x == nil {
			return false
		}
		vip, err := netip.ParseAddr(VIPOf(x))
		return err == nil && !plan.LoadBalancer.Contains(vip)
	})
}

// UnmetOf lists what the paths of a plan require and the cluster does not have.
func UnmetOf(s State, plan topology.Plan, pods workload.Pods) []Unmet {
	var out []Unmet
	away := s.AwayOf(plan)
	for _, p := range pods.All() {
		l := Unmet{What: "pod/" + p.Name, Why: away[p.Node], Futile: s.gone(p.Node) || s.silent(p.Node)}
		pod := s.Pod(p.Namespace, p.Name)
		if !s.gone(p.Node) && pod != nil && PodReady(pod) {
			continue
		}
		if why := s.Refused["pods/"+p.Namespace+"/"+p.Name]; l.Why == "" && pod == nil && why != "" {
			l.Why, l.Futile = fmt.Sprintf("agent Pod %s on %s does not exist: %s", p.Name, p.Node, why), true
		}
		if l.Why == "" {
			l.Why = fmt.Sprintf("agent Pod %s on %s is not ready: %s", p.Name, p.Node, s.podTrouble(p, pod))
			l.Futile = l.Futile || pod != nil && pod.Status.Phase == corev1.PodFailed
		}
		out = append(out, l)
	}
	for _, spec := range workload.ServiceSpecs(plan) {
		out = append(out, s.unmetOfService(plan, spec, pods)...)
	}
	if workload.HasIngress(plan) {
		out = append(out, s.unmetOfIngress(plan)...)
	}
	if len(s.Ready("kube-system", "kube-dns")) == 0 {
		l := Unmet{What: "dns", Why: "CoreDNS has 0 ready endpoints"}
		if d := s.deployment("kube-system", "coredns"); d == nil {
			l.Why += ": Deployment kube-system/coredns not found"
		} else if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
			l.Why, l.Futile = l.Why+": Deployment kube-system/coredns is scaled to 0 replicas", true
		} else {
			l.Why += ": " + s.troubleOf(coreDNS())
			if why := s.cutOff(coreDNS(), plan.Kubernetes.API); why != "" {
				l.Why, l.Futile = Join(l.Why, why), true
			}
		}
		out = append(out, l)
	}
	return out
}

func (s State) unmetOfService(plan topology.Plan, spec workload.ServiceSpec, c workload.Pods) []Unmet {
	what := "service/" + spec.Name
	service := s.Service(workload.Namespace, spec.Name)
	if service == nil {
		why := s.Refused["services/"+workload.Namespace+"/"+spec.Name]
		return []Unmet{{What: what, Why: Join("Service "+spec.Name+" not found", why), Futile: why != ""}}
	}
	var out []Unmet
	if spec.Type == corev1.ServiceTypeLoadBalancer && VIPOf(service) == "" {
		out = append(out, s.noVIP(what, spec.Name, plan, service))
	}
	endpoints := s.Ready(workload.Namespace, spec.Name)
	for _, name := range c.WithLabel(spec.Label, spec.Value) {
		if pod := s.Pod(workload.Namespace, name); pod == nil || !PodReady(pod) || s.gone(pod.Spec.NodeName) || slices.Contains(endpoints, name) {
			continue
		}
		l := Unmet{What: what, Why: fmt.Sprintf("Service %s has no ready endpoint for Pod %s", spec.Name, name)}
		if len(endpoints) == 0 {
			l.Why = fmt.Sprintf("Service %s has no ready endpoints", spec.Name)
		}
		if service.Spec.Selector[spec.Label] != spec.Value || len(service.Spec.Selector) != 1 {
			l.Why, l.Futile = fmt.Sprintf("%s: its selector is %s", l.Why, metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: service.Spec.Selector})), true
		}
		return append(out, l)
	}
	return out
}

// noVIP is the condition that a Service has no VIP.
func (s State) noVIP(what, name string, plan topology.Plan, service *corev1.Service) Unmet {
	for _, w := range s.Installed[components.KindLoadBalancer] {
		if why := s.cutOff(w, plan.Kubernetes.API); why != "" && slices.Contains(w.Does, components.Assigns) {
			return Unmet{What: what, Why: fmt.Sprintf("no VIP assigned to Service %s: %s", name, why), Futile: true}
		}
	}
	return Unmet{What: what, Why: fmt.Sprintf("no VIP assigned to Service %s: %s", name, s.vipTrouble(service))}
}

func (s State) unmetOfIngress(plan topology.Plan) []Unmet {
	if why := s.Refused[workload.IngressKey]; why != "" {
		return []Unmet{{What: "ingress", Why: "the Ingress does not exist: " + why, Futile: true}}
	}
	service := s.ingressService()
	switch {
	case service == nil:
		return []Unmet{{What: "ingress", Why: "Service of the ingress controller " + plan.Ingress.Name + " not found"}}
	case service.Spec.Type == corev1.ServiceTypeLoadBalancer && VIPOf(service) == "":
		return []Unmet{s.noVIP("ingress", service.Namespace+"/"+service.Name, plan, service)}
	case len(s.Ready(service.Namespace, service.Name)) == 0:
		why := fmt.Sprintf("no %s controller Pod is ready", plan.Ingress.Name)
		for _, w := range s.Installed[components.KindIngress] {
			why = Join(why, s.troubleOf(w))
			if policy := s.cutOff(w, plan.Kubernetes.API); policy != "" {
				return []Unmet{{What: "ingress", Why: Join(why, policy), Futile: true}}
			}
		}
		return []Unmet{{What: "ingress", Why: why}}
	}
	return nil
}

// ingressService is the Service of the controller that netlab installed: charts give it the
// name of its workload.
func (s State) ingressService() *corev1.Service {
	for _, w := range s.Installed[components.KindIngress] {
		if service := s.Service(w.Namespace, w.Name); service != nil {
			return service
		}
	}
	return nil
}
