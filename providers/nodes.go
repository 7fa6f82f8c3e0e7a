package providers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// NodeProblem is what is wrong with a running Node's registration in its cluster.
type NodeProblem struct {
	Name   string
	Lost   bool // it is not registered as it was
	Silent bool // its kubelet hangs
	What   string
}

func (n NodeProblem) Error() string { return fmt.Sprintf("Node %s %s", n.Name, n.What) }

// silent is the age of a kubelet's lease, which it renews every 10 s, after which the kubelet
// counts as hung. The control plane marks its Node only after 50 s. The age says
// nothing of a Node that does not share this machine's kernel and clock: that of an emulated one
// lags by minutes.
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
		case !m.OwnKernel && age[m.Name] > silent:
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

// sickNodes lists the running Nodes of an existing lab that are not registered as they were, or
// whose kubelet hangs, before anything is restarted, and reports whether up will revive Nodes: these, or
// others that do not run. Without an API server there are none to list.
func sickNodes(ctx context.Context, p Provider, state State, dir string, record applied.Record) (sick []NodeProblem, revives bool) {
	ctx, cancel := context.WithTimeout(ctx, state.Plan.Limit(healthLimit, healthLimit))
	defer cancel()
	running, _ := p.Attach(ctx, state.Plan, dir)
	off := slices.ContainsFunc(state.Plan.Nodes(), func(m topology.Machine) bool { _, runs := running.Machines[m.Name]; return !runs })
	client, err := running.Client()
	if err != nil {
		return nil, off
	}
	problems, _ := nodeProblems(ctx, client, running, record)
	sick = slices.DeleteFunc(problems, func(n NodeProblem) bool { return !n.Lost && !n.Silent })
	return sick, off || len(sick) > 0
}

// nodesLimit bounds the wait until the Nodes are ready.
const (
	nodesLimit         = 3 * time.Minute
	emulatedNodesLimit = 20 * time.Minute
)

// restartKubelets registers Nodes as they were, and restarts the kubelets of sick ones.
func (i *installer) restartKubelets(ctx context.Context, running Running, sick []NodeProblem, record applied.Record) error {
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
	return nil
}

// awaitNodes waits until all Nodes of the plan are ready.
func (i *installer) awaitNodes(ctx context.Context, running Running) error {
	ctx, cancel := context.WithTimeout(ctx, running.Plan.Limit(nodesLimit, emulatedNodesLimit))
	defer cancel()
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
	created, err := nodes.Create(ctx, was.Object(), metav1.CreateOptions{FieldManager: manager})
	if err != nil {
		return err
	}
	created.Status = was.Object().Status // which a creation leaves out
	if _, err := nodes.UpdateStatus(ctx, created, metav1.UpdateOptions{FieldManager: manager}); err != nil && !apierrors.IsConflict(err) {
		return err // in a conflict the kubelet was faster
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
