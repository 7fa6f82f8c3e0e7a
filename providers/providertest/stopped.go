package providertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/internal/kube"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

// stopped: a stopped lab has nothing on the machine except its files, and is started with the same
// addresses, MACs, Pods and kubeconfig.
func (l *lab) stopped(t *testing.T, before residue.Snapshot) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	kubeconfig, err := os.ReadFile(l.running.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	l.workload(ctx, t)
	pods, boots := l.pods(ctx, t), l.boots(t)
	for range 2 { // the second time there is nothing to do
		began := time.Now()
		if err := providers.Stop(ctx, l.root, l.New(), l.plan.Lab); err != nil {
			t.Fatal(err)
		}
		t.Logf("stop took %s", time.Since(began))
	}
	NothingLeft(t, before, l.plan.Lab.Label())
	state, err := l.root.Read(l.plan.Lab)
	if err != nil || state.Phase != providers.PhaseStopped {
		t.Errorf("the state says %q (%v)", state.Phase, err)
	}
	if err := providers.Healthy(ctx, l.New(), state, l.dir); err == nil || !strings.Contains(err.Error(), "stopped") || !strings.Contains(hint(err), "netlab start") {
		t.Errorf("a stopped lab's health: %v (hint %q)", err, hint(err))
	}
	if _, err := l.New().Attach(ctx, l.plan, l.dir); err == nil {
		t.Error("attach finds the machines of a stopped lab")
	}

	began := time.Now()
	if l.running, err = providers.Start(ctx, l.root, l.New(), l.plan.Lab, l.request(t).Step); err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %s", time.Since(began))
	for name, boot := range l.boots(t) {
		if m, _ := l.plan.Machine(name); boot == boots[name] && m.Kind == topology.KindNode {
			t.Errorf("Node %s was not started again", name)
		}
	}
	for _, m := range l.plan.Machines {
		nics(t, l.running.Machines[m.Name], m)
		routes(t, l.running.Machines[m.Name], m)
	}
	if is, err := os.ReadFile(l.running.Kubeconfig); err != nil || !bytes.Equal(kubeconfig, is) {
		t.Errorf("the kubeconfig has changed (%v)", err)
	}
	// `start` recreates those Pods of components that wait for a back-off; the user's stay.
	if is := l.pods(ctx, t); len(is) != len(pods) || is[user] != pods[user] || is[user] == "" {
		t.Errorf("Pods were %v, and are %v", pods, is)
	}
	l.kubeconfig(t)
	l.ready(ctx, t)
	l.healthy(t)
}

// user is the name of a Pod that no component has, and no controller would create again.
const user = metav1.NamespaceDefault + "/stays"

// workload creates the user's Pod, of an image that every Node has.
func (l *lab) workload(ctx context.Context, t *testing.T) {
	t.Helper()
	client, err := l.running.Client()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image := ""
	for _, i := range nodes.Items[0].Status.Images {
		for _, name := range i.Names {
			if strings.Contains(name, "/pause:") {
				image = name
			}
		}
	}
	namespace, name, _ := strings.Cut(user, "/")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{{Name: "pause", Image: image, ImagePullPolicy: corev1.PullNever}},
			TerminationGracePeriodSeconds: new(int64),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatalf("Pod of image %q: %v", image, err)
	}
}

// pods returns the UIDs and Nodes of the Pods by name, without mirror Pods, when all are ready.
func (l *lab) pods(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	client, err := l.running.Client()
	if err != nil {
		t.Fatal(err)
	}
	for {
		all, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out, ready := map[string]string{}, true
		for _, p := range all.Items {
			if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				continue
			}
			out[p.Namespace+"/"+p.Name] = fmt.Sprintf("%s on %s", p.UID, p.Spec.NodeName)
			ready = ready && kube.PodReady(&p)
		}
		if ready && len(out) > 0 {
			return out
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not all Pods are ready: %v", out)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
