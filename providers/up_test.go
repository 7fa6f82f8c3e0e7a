package providers

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/topology"
)

// A Node that left the plan goes, and its Pods with it, also if an earlier run already deleted the
// Node. Nodes that netlab did not make stay, and so do their Pods and those that wait for a Node.
func TestForgetNodes(t *testing.T) {
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	pod := func(name, on string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: on}}
	}
	client := fake.NewClientset(node("cp"), node("w1"), node("w2"), node("kwok-1"),
		pod("stays", "w1"), pod("goes", "w2"), pod("waits", ""), pod("went", "w3"), pod("simulated", "kwok-1"))
	running := Running{Machines: map[string]Machine{"cp": nil, "w1": nil, "client": nil}}
	for range 2 { // the second time there is nothing to forget
		if err := (&installer{client: client}).forgetNodes(t.Context(), running, []string{"cp", "w1", "w2", "w3"}); err != nil {
			t.Fatal(err)
		}
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, n := range nodes.Items {
		left = append(left, n.Name)
	}
	for _, p := range pods.Items {
		left = append(left, p.Name)
	}
	if want := []string{"cp", "kwok-1", "w1", "simulated", "stays", "waits"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

// The Nodes of every plan since the last complete up are remembered: an up that was interrupted
// before it deleted a Node leaves that to the next one.
func TestRememberNodes(t *testing.T) {
	plan := func(nodes ...string) (p topology.Plan) {
		for _, n := range nodes {
			p.Machines = append(p.Machines, topology.Machine{Name: n, Kind: topology.KindNode})
		}
		return p
	}
	var s State
	s.remember(plan("cp", "w1"), plan("cp", "w1", "w2"))
	s.remember(plan("cp"))
	if want := []string{"cp", "w1", "w2"}; !slices.Equal(s.Nodes, want) {
		t.Errorf("remembered are %v, want %v", s.Nodes, want)
	}
}

// attached is a provider of a lab of which some machines run, without an API server.
type attached struct {
	Provider
	runs []string
}

func (a attached) Attach(_ context.Context, plan topology.Plan, _ string) (Running, error) {
	running := Running{Plan: plan, Kubeconfig: "/nonexistent", Machines: map[string]Machine{}}
	for _, name := range a.runs {
		running.Machines[name] = nil
	}
	return running, nil
}

// A Node that does not run is one that up revives.
func TestRevives(t *testing.T) {
	plan := topology.Plan{Machines: []topology.Machine{{Name: "cp", Kind: topology.KindNode}, {Name: "w1", Kind: topology.KindNode}, {Name: "client"}}}
	for _, c := range []struct {
		runs    []string
		revives bool
	}{{[]string{"cp", "w1"}, false}, {[]string{"cp", "client"}, true}, {nil, true}} {
		if sick, revives := sickNodes(t.Context(), attached{runs: c.runs}, State{Plan: plan}, "", applied.Record{}); revives != c.revives || len(sick) > 0 {
			t.Errorf("of %v that run: revives %t, sick %v", c.runs, revives, sick)
		}
	}
}
