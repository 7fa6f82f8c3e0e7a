package providers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/topology"
)

// nodeObjects are a ready Node and its kubelet's lease of some age.
func nodeObjects(name, cidr string, ready corev1.ConditionStatus, age time.Duration) []runtime.Object {
	renewed := metav1.NewMicroTime(time.Now().Add(-age))
	return []runtime.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Message: "the CNI is not initialized"}}}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}, Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}},
	}
}

func runningNodes(names ...string) Running {
	r := Running{Machines: map[string]Machine{}}
	for _, n := range names {
		r.Plan.Machines = append(r.Plan.Machines, topology.Machine{Name: n, Kind: topology.KindNode})
		r.Machines[n] = store{}
	}
	return r
}

// Each way in which a Node is not well is named by Node and reason; a machine that is off is
// reported elsewhere.
func TestNodeProblems(t *testing.T) {
	objects := slices.Concat(
		nodeObjects("cp", "10.244.0.0/24", corev1.ConditionTrue, 2*time.Second),
		nodeObjects("hung", "10.244.1.0/24", corev1.ConditionTrue, 31*time.Second),
		nodeObjects("unready", "10.244.2.0/24", corev1.ConditionFalse, time.Second),
		nodeObjects("again", "10.244.9.0/24", corev1.ConditionTrue, time.Second),
		nodeObjects("emulated", "10.244.4.0/24", corev1.ConditionTrue, 6*time.Minute)) // its clock lags
	running := runningNodes("cp", "hung", "unready", "again", "lost", "off", "emulated")
	running.Plan.Machines[len(running.Plan.Machines)-1].OwnKernel = true
	delete(running.Machines, "off")
	record := applied.Record{Nodes: []applied.Node{{Name: "cp", PodCIDRs: []string{"10.244.0.0/24"}}, {Name: "again", PodCIDRs: []string{"10.244.3.0/24"}}}}
	problems, err := nodeProblems(t.Context(), fake.NewClientset(objects...), running, record)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%v lost=%t silent=%t", p, p.Lost, p.Silent))
	}
	want := []string{
		"Node hung is not ready: its kubelet has not renewed its lease for 31s lost=false silent=true",
		"Node unready is not ready: the CNI is not initialized lost=false silent=false",
		"Node again was registered again, with Pod CIDR 10.244.9.0/24 instead of 10.244.3.0/24 lost=true silent=false",
		"Node lost is not registered: its kubelet registers when it starts lost=true silent=false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A Node that was deleted is created as it was, and only the Pods of netlab's DaemonSets on it are
// replaced.
func TestRegister(t *testing.T) {
	owned := func(name, on, by string) *corev1.Pod {
		yes := true
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: name,
			OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: by, Controller: &yes}}}, Spec: corev1.PodSpec{NodeName: on}}
	}
	client := fake.NewClientset(owned("agent-w1", "w1", "kube-flannel-ds"), owned("theirs", "w1", "node-exporter"),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.9.0/24"}})
	record := applied.Record{Parts: []applied.Part{{Name: "flannel", Objects: []applied.Object{{Kind: "DaemonSet", Namespace: "kube-flannel", Name: "kube-flannel-ds"}}}}}
	room := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
	was := applied.Node{Name: "w1", Capacity: room, Allocatable: room, PodCIDRs: []string{"10.244.1.0/24"}, Annotations: map[string]string{"flannel.alpha.coreos.com/public-ip": "172.30.0.11"}}
	if err := (&installer{client: client}).register(t.Context(), was, record); err != nil {
		t.Fatal(err)
	}
	n, err := client.CoreV1().Nodes().Get(t.Context(), "w1", metav1.GetOptions{})
	if err != nil || n.Spec.PodCIDR != "10.244.1.0/24" || n.Annotations["flannel.alpha.coreos.com/public-ip"] != "172.30.0.11" || n.Status.Allocatable.Pods().Value() != 110 {
		t.Errorf("w1 is %+v (%v)", n, err)
	}
	pods, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Name != "theirs" {
		t.Errorf("Pods are %v (%v)", pods.Items, err)
	}
}

// A workload that exists and is not fully available is a problem; a missing one is a difference.
func TestUnavailable(t *testing.T) {
	none := int32(0)
	scaled := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "coredns"}, Spec: appsv1.DeploymentSpec{Replicas: &none}}
	daemons := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}}
	daemons.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 2}
	record := applied.Record{Parts: []applied.Part{{Name: "kubernetes", Objects: []applied.Object{
		{Kind: "Deployment", Namespace: "kube-system", Name: "coredns", Awaited: true},
		{Kind: "DaemonSet", Namespace: "kube-system", Name: "kube-proxy", Awaited: true},
		{Kind: "DaemonSet", Namespace: "kube-system", Name: "missing", Awaited: true},
		{Kind: "ConfigMap", Namespace: "kube-system", Name: "coredns"}}}}}
	problems, err := unavailable(t.Context(), fake.NewClientset(scaled, daemons), record)
	if err != nil || len(problems) != 1 || problems[0].Error() != "kubernetes: DaemonSet kube-system/kube-proxy: 2 of 3 Pods available" {
		t.Errorf("problems are %v (%v)", problems, err)
	}
}

// What goes with a cluster is named by count and name: the user's Namespaces and what runs in any,
// and nothing of netlab's, of kubeadm's or of a controller's.
func TestUsers(t *testing.T) {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	object := func(api, kind, namespace, name, by string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: api, Kind: kind}, ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: by}}}}
	}
	yes := true
	child := object("v1", "Pod", "shop", "web-abc", "kube-controller-manager")
	child.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: &yes}}
	mirror := object("v1", "Pod", "kube-system", "etcd-cp", "kubelet")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	client := metadatafake.NewSimpleMetadataClient(scheme,
		object("v1", "Namespace", "", "default", "kube-apiserver"), object("v1", "Namespace", "", "kube-system", "kube-apiserver"),
		object("v1", "Namespace", "", "metallb-system", manager), object("v1", "Namespace", "", "shop", "kubectl-create"), object("v1", "Namespace", "", "ingress-nginx", "nobody"),
		object("apps/v1", "Deployment", "shop", "web", "kubectl-create"), object("apps/v1", "Deployment", "kube-system", "coredns", bootstrapManager),
		object("apps/v1", "Deployment", "kube-system", "metrics-server", "kubectl-client-side-apply"),
		object("apps/v1", "DaemonSet", "metallb-system", "metallb-speaker", manager),
		child, mirror, object("v1", "Pod", "default", "bare", "kubectl-run"))
	got, err := users(context.Background(), client, applied.Record{Parts: []applied.Part{{Objects: []applied.Object{{Kind: "Namespace", Name: "ingress-nginx"}}}}})
	want := []string{"1 Namespace: shop", "3 workloads: Deployment kube-system/metrics-server, Deployment shop/web, Pod default/bare"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("they have\n%s\nwant\n%s (%v)", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
	many := make([]string, 12)
	if text := counted(many, "workload"); !strings.HasPrefix(text, "12 workloads: ") || !strings.HasSuffix(text, " and 2 more") {
		t.Errorf("many are %q", text)
	}
}

// A workload that is not available is deleted if somebody edited its spec, since applying it again
// takes back no field that others added; one that is available, or that nobody edited, is not.
func TestDropEdited(t *testing.T) {
	daemons := func(name string, there int32, by, fields, subresource string) *appsv1.DaemonSet {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		d.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: there}
		d.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)},
			{Manager: by, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}}
		return d
	}
	const selector = `{"f:spec":{"f:template":{"f:spec":{"f:nodeSelector":{"f:nlt":{}}}}}}`
	client := fake.NewClientset(
		daemons("edited", 0, "kubectl-patch", selector, ""), daemons("fine", 3, "kubectl-patch", selector, ""),
		daemons("slow", 1, "kube-controller-manager", `{"f:status":{}}`, "status"), daemons("labelled", 1, "kubectl-label", `{"f:metadata":{}}`, ""))
	i := &installer{client: client}
	for _, name := range []string{"edited", "fine", "slow", "labelled", "missing"} {
		if err := i.dropEdited(t.Context(), components.Workload{Kind: "DaemonSet", Namespace: "ns", Name: name}); err != nil {
			t.Fatal(err)
		}
		_, err := client.AppsV1().DaemonSets("ns").Get(t.Context(), name, metav1.GetOptions{})
		if gone, want := err != nil, name == "edited" || name == "missing"; gone != want {
			t.Errorf("%s is gone: %t, want %t", name, gone, want)
		}
	}
}
