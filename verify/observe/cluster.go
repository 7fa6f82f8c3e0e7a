package observe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/kube"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/workload"
)

// State is the cluster at one moment: everything that waiting and diagnosis read.
type State struct {
	Pods        []*corev1.Pod
	Services    []*corev1.Service
	Slices      []*discoveryv1.EndpointSlice
	Nodes       []*corev1.Node
	Deployments []*appsv1.Deployment
	DaemonSets  []*appsv1.DaemonSet
	Events      []*corev1.Event // newest last; read only after a failure
	Off         []string        // machines that are off: the cluster learns of a Node only after 40 s

	Policies   []Policy                     // of the user; read with Events
	namespaces map[string]map[string]string // labels, read with Policies

	Installed Installed
	Refused   map[string]string // why the cluster refuses objects of the verification, by "pods/NAMESPACE/NAME"
}

// Cluster follows the state with watches.
type Cluster struct {
	client  kubernetes.Interface
	changed chan struct{} // holds one token when something changed since it was taken
	stores  map[string]cache.Store
	synced  []cache.InformerSynced
	off     []string

	// What State takes over; set before it is called.
	Installed Installed
	Refused   map[string]string

	Raw func(ctx context.Context, path string) ([]byte, error) // reads a path of the API; may be nil
}

// syncLimit bounds the initial listing of the state; emulated machines are slow.
const syncLimit = time.Minute

// Follow starts the watches; they end with ctx. off are the lab's machines that are off.
func Follow(ctx context.Context, client kubernetes.Interface, off []string) (*Cluster, error) {
	// A broken watch is restarted; the terminal need not show it (the zero Logger discards).
	ctx = klog.NewContext(ctx, klog.Logger{})
	c := &Cluster{client: client, changed: make(chan struct{}, 1), stores: map[string]cache.Store{}, off: off}
	follow := func(name string, example runtime.Object, list cache.ListWithContextFunc, watch cache.WatchFuncWithContext) {
		touch := func(any) {
			select {
			case c.changed <- struct{}{}:
			default:
			}
		}
		store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: watch}, client),
			ObjectType:    example,
			Handler:       cache.ResourceEventHandlerFuncs{AddFunc: touch, UpdateFunc: func(_, o any) { touch(o) }, DeleteFunc: touch},
		})
		c.stores[name] = store
		c.synced = append(c.synced, controller.HasSynced)
		go controller.RunWithContext(ctx)
	}
	core, apps, discovery := client.CoreV1(), client.AppsV1(), client.DiscoveryV1()
	follow("pods", &corev1.Pod{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.Pods("").List(ctx, o)
	}, core.Pods("").Watch)
	follow("services", &corev1.Service{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.Services("").List(ctx, o)
	}, core.Services("").Watch)
	follow("slices", &discoveryv1.EndpointSlice{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return discovery.EndpointSlices("").List(ctx, o)
	}, discovery.EndpointSlices("").Watch)
	follow("nodes", &corev1.Node{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.Nodes().List(ctx, o)
	}, core.Nodes().Watch)
	follow("deployments", &appsv1.Deployment{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return apps.Deployments("").List(ctx, o)
	}, apps.Deployments("").Watch)
	follow("daemonsets", &appsv1.DaemonSet{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return apps.DaemonSets("").List(ctx, o)
	}, apps.DaemonSets("").Watch)

	syncing, cancel := context.WithTimeout(ctx, syncLimit)
	defer cancel()
	for {
		if !slices.ContainsFunc(c.synced, func(done cache.InformerSynced) bool { return !done() }) {
			return c, nil
		}
		select {
		case <-syncing.Done():
			return nil, fmt.Errorf("read the cluster's state: the API server did not answer all requests within %s: %w", syncLimit, syncing.Err())
		case <-c.changed:
		case <-time.After(20 * time.Millisecond): // an empty list changes nothing
		}
	}
}

func (c *Cluster) State() State {
	return State{
		Pods: stored[corev1.Pod](c.stores["pods"]), Services: stored[corev1.Service](c.stores["services"]),
		Slices: stored[discoveryv1.EndpointSlice](c.stores["slices"]), Nodes: stored[corev1.Node](c.stores["nodes"]),
		Deployments: stored[appsv1.Deployment](c.stores["deployments"]), DaemonSets: stored[appsv1.DaemonSet](c.stores["daemonsets"]), Off: c.off,
		Installed: c.Installed, Refused: c.Refused,
	}
}

func stored[T any](store cache.Store) []*T {
	keys := store.ListKeys()
	slices.Sort(keys)
	var out []*T
	for _, k := range keys {
		if o, ok, _ := store.GetByKey(k); ok {
			out = append(out, o.(*T))
		}
	}
	return out
}

// StateWithEvents is the state with the events, which explain failures.
func (c *Cluster) StateWithEvents(ctx context.Context) State {
	s := c.State()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c.readPolicies(ctx, &s)
	events, err := c.client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return s // a reason without its event is still a reason
	}
	for i := range events.Items {
		s.Events = append(s.Events, &events.Items[i])
	}
	slices.SortStableFunc(s.Events, func(a, b *corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	return s
}

func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// Unmet is a condition that the paths require and that does not hold.
type Unmet struct {
	What   string // "pod/echo-w1", "service/echo-lb", "dns", "ingress"
	Why    string
	Futile bool // waiting will not help
}

// quiet is how long a cluster in which something is missing may show no change before it
// counts as stuck. On a slow machine each step is slow.
const quiet = 15 * time.Second

// away limits the wait while a Node is off or its kubelet is silent: what was on it does not come
// back meanwhile, and what moves to other Nodes may take minutes.
const away = 5 * time.Second

// Await waits until nothing is missing, until waiting will not help, until nothing has
// changed for a while, or for at most bound. It returns what is still missing.
func (c *Cluster) Await(ctx context.Context, plan topology.Plan, pods workload.Pods, bound time.Duration) []Unmet {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	quiet := quiet * Patience(plan)
	still := time.NewTimer(quiet)
	defer still.Stop()
	// A cluster whose pools were changed by hand never moves its VIPs to the plan's pools:
	// the wait for that is as long, whatever else changes.
	var moving, down <-chan time.Time
	for stuck := false; !stuck && ctx.Err() == nil; {
		s := c.State()
		if down == nil && s.nodeAway(plan) {
			down = time.After(away * Patience(plan))
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
	away := s.awayOf(plan)
	for _, p := range pods.All() {
		l := Unmet{What: "pod/" + p.Name, Why: away[p.Node], Futile: s.IsOff(p.Node)}
		pod := s.Pod(p.Namespace, p.Name)
		if !l.Futile && pod != nil && PodReady(pod) {
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
		out = append(out, s.unmetOfService(spec, pods)...)
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
		}
		out = append(out, l)
	}
	return out
}

func (s State) unmetOfService(spec workload.ServiceSpec, c workload.Pods) []Unmet {
	what := "service/" + spec.Name
	service := s.Service(workload.Namespace, spec.Name)
	if service == nil {
		why := s.Refused["services/"+workload.Namespace+"/"+spec.Name]
		return []Unmet{{What: what, Why: Join("Service "+spec.Name+" not found", why), Futile: why != ""}}
	}
	var out []Unmet
	if spec.Type == corev1.ServiceTypeLoadBalancer && VIPOf(service) == "" {
		out = append(out, Unmet{What: what, Why: fmt.Sprintf("no VIP assigned to Service %s: %s", spec.Name, s.vipTrouble(service))})
	}
	endpoints := s.Ready(workload.Namespace, spec.Name)
	for _, name := range c.WithLabel(spec.Label, spec.Value) {
		if pod := s.Pod(workload.Namespace, name); pod == nil || !PodReady(pod) || s.IsOff(pod.Spec.NodeName) || slices.Contains(endpoints, name) {
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

func (s State) unmetOfIngress(plan topology.Plan) []Unmet {
	if why := s.Refused[workload.IngressKey]; why != "" {
		return []Unmet{{What: "ingress", Why: "the Ingress does not exist: " + why, Futile: true}}
	}
	service := s.ingressService()
	switch {
	case service == nil:
		return []Unmet{{What: "ingress", Why: "Service of the ingress controller " + plan.Ingress.Name + " not found"}}
	case service.Spec.Type == corev1.ServiceTypeLoadBalancer && VIPOf(service) == "":
		return []Unmet{{What: "ingress", Why: fmt.Sprintf("no VIP assigned to Service %s/%s: %s", service.Namespace, service.Name, s.vipTrouble(service))}}
	case len(s.Ready(service.Namespace, service.Name)) == 0:
		why := fmt.Sprintf("no %s controller Pod is ready", plan.Ingress.Name)
		for _, w := range s.Installed[components.KindIngress] {
			why = Join(why, s.troubleOf(w))
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

func (s State) Pod(namespace, name string) *corev1.Pod {
	for _, p := range s.Pods {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

func (s State) Service(namespace, name string) *corev1.Service {
	for _, x := range s.Services {
		if x.Namespace == namespace && x.Name == name {
			return x
		}
	}
	return nil
}

func (s State) deployment(namespace, name string) *appsv1.Deployment {
	for _, d := range s.Deployments {
		if d.Namespace == namespace && d.Name == name {
			return d
		}
	}
	return nil
}

// Ready returns the names of the Pods that a Service's EndpointSlices list as ready.
func (s State) Ready(namespace, service string) []string {
	var out []string
	for _, slice := range s.Slices {
		if slice.Namespace != namespace || slice.Labels[workload.ServiceLabel] != service {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if e.TargetRef != nil {
				out = append(out, e.TargetRef.Name)
			} else {
				out = append(out, strings.Join(e.Addresses, ","))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func PodReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.PodIP != "" && kube.PodReady(p)
}

// VIPOf is the address assigned to a Service of type LoadBalancer, "" for none yet.
func VIPOf(s *corev1.Service) string {
	for _, i := range s.Status.LoadBalancer.Ingress {
		if net.ParseIP(i.IP) != nil {
			return i.IP
		}
	}
	return ""
}

// Patience is the factor by which timeouts grow: emulated machines are slow in everything,
// most of all when much starts at once.
func Patience(plan topology.Plan) time.Duration {
	if plan.Capabilities.Emulated {
		return 10
	}
	return 1
}
