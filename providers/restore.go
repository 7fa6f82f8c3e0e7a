package providers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/providers/command"
)

// Bootstrap is what the bootstrap of a cluster installs besides components: CoreDNS, kube-proxy,
// RBAC.
type Bootstrap struct {
	// Again installs it once more into a running cluster. It keeps part of what it finds, such as
	// the number of replicas.
	Again func(context.Context) error
}

// bootstrapManager is the field manager of its objects.
const bootstrapManager = "kubeadm"

// bootstrapPart is the name of its objects in the record of what was applied.
const bootstrapPart = "kubernetes"

// bootstrapKinds are the resources in which it has objects, those in kube-system first. Secrets
// are not among them: its bootstrap tokens expire.
var bootstrapKinds = []struct {
	resource   schema.GroupVersionResource
	namespaced bool
}{
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}, true},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, true},
	{schema.GroupVersionResource{Version: "v1", Resource: "services"}, true},
	{schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, true},
	{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, false},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}, false},
}

// notebook collects what is applied, by part. It is safe for concurrent use.
type notebook struct {
	mu    sync.Mutex
	parts map[string][]applied.Object
}

func (n *notebook) add(part string, o applied.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.parts == nil {
		n.parts = map[string][]applied.Object{}
	}
	others := slices.DeleteFunc(n.parts[part], func(x applied.Object) bool { return x.GVR() == o.GVR() && x.String() == o.String() })
	n.parts[part] = append(others, o) // a chart may apply what was created before
}

// record returns what was collected.
func (n *notebook) record() (r applied.Record) {
	for name, objects := range n.parts {
		slices.SortFunc(objects, func(a, b applied.Object) int { return cmp.Compare(a.String(), b.String()) })
		r.Parts = append(r.Parts, applied.Part{Name: name, Objects: objects})
	}
	slices.SortFunc(r.Parts, func(a, b applied.Part) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// noteBootstrap collects the objects of the bootstrap. Of ConfigMaps only the existence counts:
// kubeadm itself keeps an edited Corefile.
func (i *installer) noteBootstrap(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range bootstrapKinds {
		namespace := ""
		if kind.namespaced {
			namespace = metav1.NamespaceSystem
		}
		group.Go(func() error {
			objects, err := i.dynamic.Resource(kind.resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("list %s: %w", kind.resource.Resource, err)
			}
			for _, o := range objects.Items {
				object, err := applied.Managed(&o, kind.resource, bootstrapManager)
				if err != nil {
					return err
				}
				if len(object.Owned) == 0 {
					continue // somebody else's
				}
				if object.Kind == "ConfigMap" {
					object = applied.Existing(&o, kind.resource)
				}
				object.Awaited = object.Kind == "DaemonSet" || object.Kind == "Deployment"
				i.note.add(bootstrapPart, object)
			}
			return nil
		})
	}
	return group.Wait()
}

// clusterProblems lists how a cluster differs from what was applied to it, from its plan's Nodes,
// and what is not ready in it.
func clusterProblems(ctx context.Context, running Running, record applied.Record) (problems []error, err error) {
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := running.Client()
	if err != nil {
		return nil, err
	}
	var differences []applied.Difference
	var nodes []NodeProblem
	var unready []error
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() (err error) { differences, err = applied.Compare(ctx, config, record); return err })
	all.Go(func() (err error) { nodes, err = nodeProblems(ctx, client, running, record); return err })
	all.Go(func() (err error) { unready, err = unavailable(ctx, client, record); return err })
	if err := all.Wait(); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		problems = append(problems, n)
	}
	for _, d := range differences {
		problems = append(problems, d)
	}
	for _, u := range unready {
		problems = append(problems, u)
	}
	return problems, nil
}

// NodeProblem is what is wrong with a running Node's registration in its cluster.
type NodeProblem struct {
	Name   string
	Lost   bool // it is not registered as it was
	Silent bool // its kubelet hangs
	What   string
}

func (n NodeProblem) Error() string { return fmt.Sprintf("Node %s %s", n.Name, n.What) }

// silent is the age of a kubelet's lease, which it renews every 10 s, after which the kubelet
// counts as hung. The control plane marks its Node only after 50 s.
const silent = 25 * time.Second

// nodeProblems lists the running Nodes of the plan that are not registered or not ready.
func nodeProblems(ctx context.Context, client kubernetes.Interface, running Running, record applied.Record) (problems []NodeProblem, err error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Nodes: %w", err)
	}
	leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the leases of the Nodes: %w", err)
	}
	age := map[string]time.Duration{}
	for _, l := range leases.Items {
		if l.Spec.RenewTime != nil {
			age[l.Name] = time.Since(l.Spec.RenewTime.Time)
		}
	}
	limit := silent
	if running.Plan.Capabilities.Emulated {
		limit *= 4
	}
	for _, m := range running.Plan.Nodes() {
		if _, runs := running.Machines[m.Name]; !runs {
			continue // reported with the machines
		}
		p := NodeProblem{Name: m.Name}
		at := slices.IndexFunc(nodes.Items, func(n corev1.Node) bool { return n.Name == m.Name })
		was, _ := record.Node(m.Name)
		switch {
		case at < 0:
			p.What, p.Lost = "is not registered: its kubelet registers when it starts", true
		case len(was.PodCIDRs) > 0 && !slices.Equal(nodes.Items[at].Spec.PodCIDRs, was.PodCIDRs):
			p.What, p.Lost = fmt.Sprintf("was registered again, with Pod CIDR %s instead of %s", strings.Join(nodes.Items[at].Spec.PodCIDRs, ","), strings.Join(was.PodCIDRs, ",")), true
		case age[m.Name] > limit:
			p.What, p.Silent = fmt.Sprintf("is not ready: its kubelet has not renewed its lease for %s", age[m.Name].Round(time.Second)), true
		default:
			if why := notReady(nodes.Items[at]); why != "" {
				p.What = "is not ready: " + why
			}
		}
		if p.What != "" {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// notReady says why a Node is not ready, "" if it is.
func notReady(n corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return ""
		}
		return cmp.Or(c.Message, c.Reason, "its condition Ready is "+string(c.Status))
	}
	return "it has no condition Ready"
}

// unavailable lists the awaited workloads of a record that are not fully available; those that do
// not exist are differences.
func unavailable(ctx context.Context, client kubernetes.Interface, record applied.Record) (problems []error, err error) {
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			if !o.Awaited {
				continue
			}
			var live any
			var err error
			if o.Kind == "DaemonSet" {
				live, err = client.AppsV1().DaemonSets(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			} else {
				live, err = client.AppsV1().Deployments(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			}
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", o, err)
			}
			if what, ready := available(live); !ready {
				problems = append(problems, fmt.Errorf("%s: %s: %s", p.Name, o, what))
			}
		}
	}
	return problems, nil
}

// restoreBootstrap installs the bootstrap's objects again if some are missing or changed. Changed
// workloads are deleted first, since it would keep part of what it finds.
func (i *installer) restoreBootstrap(ctx context.Context, running Running, record applied.Record) error {
	config, err := running.Config()
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(slices.Clone(record.Parts), func(p applied.Part) bool { return p.Name != bootstrapPart })
	differences, err := applied.Compare(ctx, config, applied.Record{Parts: own})
	if err != nil || len(differences) == 0 {
		return err
	}
	for _, d := range differences {
		if !d.Object.Awaited || len(d.What) == 0 {
			continue
		}
		err := i.dynamic.Resource(d.Object.GVR()).Namespace(d.Object.Namespace).Delete(ctx, d.Object.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", d.Object, err)
		}
	}
	if err := running.Bootstrap.Again(ctx); err != nil {
		return err
	}
	out, ctx := errgroup.WithContext(ctx)
	for _, d := range differences {
		if d.Object.Awaited {
			w := components.Workload{Kind: d.Object.Kind, Namespace: d.Object.Namespace, Name: d.Object.Name}
			out.Go(func() error { return rolledOut(ctx, i.client, w) })
		}
	}
	return out.Wait()
}

// sickNodes lists the running Nodes of an existing lab that are not registered as they were, or
// whose kubelet hangs, before anything is restarted. Without an API server there are none to list.
func sickNodes(ctx context.Context, p Provider, state State, dir string, record applied.Record) []NodeProblem {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	running, _ := p.Attach(ctx, state.Plan, dir)
	client, err := running.Client()
	if err != nil {
		return nil
	}
	problems, _ := nodeProblems(ctx, client, running, record)
	return slices.DeleteFunc(problems, func(n NodeProblem) bool { return !n.Lost && !n.Silent })
}

// nodesLimit bounds the wait until the Nodes are ready.
const (
	nodesLimit         = 3 * time.Minute
	emulatedNodesLimit = 20 * time.Minute
)

// restoreNodes registers Nodes as they were, restarts the kubelets of sick ones, and waits until
// all Nodes of the plan are ready.
func (i *installer) restoreNodes(ctx context.Context, running Running, sick []NodeProblem, record applied.Record) error {
	limit := nodesLimit
	if running.Plan.Capabilities.Emulated {
		limit = emulatedNodesLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, n := range sick {
		machine, planned := running.Machines[n.Name]
		if !planned {
			continue
		}
		if was, known := record.Node(n.Name); n.Lost && known {
			if err := i.register(ctx, was, record); err != nil {
				return fmt.Errorf("register Node %s: %w", n.Name, err)
			}
		}
		// PID 1 starts them again. SIGKILL ends stopped processes too.
		if _, err := command.Run(machine.Command(ctx, "pkill", "-KILL", "-x", "kubelet|containerd")); err != nil {
			return fmt.Errorf("restart the kubelet of Node %s: %w", n.Name, err)
		}
	}
	for {
		left, err := nodeProblems(ctx, i.client, running, applied.Record{})
		if err == nil && len(left) == 0 {
			return nil
		}
		for _, n := range left {
			err = errors.Join(err, n)
		}
		if !sleep(ctx, apiRetry) {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// register creates a Node as it was registered: with its Pod CIDR, which the bridges of its Pods
// have, and with what its CNI wrote into its annotations. The Pods of DaemonSets that netlab
// installed are replaced on it, since a CNI's agent registers its Node only when it starts.
func (i *installer) register(ctx context.Context, was applied.Node, record applied.Record) error {
	nodes := i.client.CoreV1().Nodes()
	if err := nodes.Delete(ctx, was.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if _, err := nodes.Create(ctx, was.Object(), metav1.CreateOptions{FieldManager: manager}); err != nil {
		return err
	}
	own := map[string]bool{}
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			own[o.Kind+" "+o.Namespace+"/"+o.Name] = true
		}
	}
	pods, err := i.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", was.Name).String()})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		by := metav1.GetControllerOf(&p)
		if by == nil || by.Kind != "DaemonSet" || !own[by.Kind+" "+p.Namespace+"/"+by.Name] {
			continue
		}
		if err := i.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// registered is how the Nodes of the plan are registered.
func (i *installer) registered(ctx context.Context, running Running) (all []applied.Node, err error) {
	nodes, err := i.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Nodes: %w", err)
	}
	for _, n := range nodes.Items {
		if _, planned := running.Machines[n.Name]; planned {
			all = append(all, applied.NodeOf(n))
		}
	}
	return all, nil
}
