package observe

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

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

	Policies   []Policy                     // of the user; read only after a failure
	namespaces map[string]map[string]string // labels, read with Policies
	APIError   string                       // why the API server did not answer, "" if it did; read with Events

	Installed Installed
	Refused   map[string]string // why the cluster refuses objects of the verification, by "pods/NAMESPACE/NAME"
	Enforced  bool              // the CNI enforces policies
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
	Enforced  bool

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
		Installed: c.Installed, Refused: c.Refused, Enforced: c.Enforced,
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

// Ingresses lists those of all Namespaces.
func (c *Cluster) Ingresses(ctx context.Context) ([]networkingv1.Ingress, error) {
	all, err := c.client.NetworkingV1().Ingresses("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Ingresses: %w", err)
	}
	return all.Items, nil
}

// StateWithPolicies is the state with the user's policies.
func (c *Cluster) StateWithPolicies(ctx context.Context) State {
	s := c.State()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c.readPolicies(ctx, &s)
	return s
}

// StateWithEvents is the state with policies and the events, which explain failures.
func (c *Cluster) StateWithEvents(ctx context.Context) State {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := c.StateWithPolicies(ctx)
	events, err := c.client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil { // a reason without its event is still a reason
		s.APIError = "the API server does not answer: " + err.Error()
		return s
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

// Patience is the factor by which timeouts of single packets grow: emulated machines are slow in
// everything, most of all when much starts at once. Longer waits have a Plan's Limit.
func Patience(plan topology.Plan) time.Duration {
	if plan.Capabilities.Emulated {
		return 10
	}
	return 1
}
