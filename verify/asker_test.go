package verify

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
)

// hostMachine is a machine whose file system is this one's.
type hostMachine struct{ dir string }

func (m hostMachine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

func (m hostMachine) Dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

func (m hostMachine) Logs() string { return m.dir }

// TestAsker talks to a real agent that serves nothing but its control socket.
func TestAsker(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- agent.Server{Name: "echo-w1", IP: "10.244.1.2", Socket: socket}.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for range 100 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	a := newAsker(map[string]providers.Machine{"w1": hostMachine{}})
	defer a.close()
	unknown := []agent.Probe{{Kind: "smoke"}, {Kind: "fire"}}
	rows := []struct {
		name   string
		s      station
		probes []agent.Probe
		want   string // part of the error; "" for none
	}{
		{"in order", station{Machine: "w1", Socket: socket, Pod: Namespace + "/echo-w1", IP: "10.244.1.2"}, unknown, ""},
		{"who does not say", station{Machine: "w1", Socket: socket}, unknown, ""},
		{"a predecessor", station{Machine: "w1", Socket: socket, Pod: Namespace + "/echo-w1", IP: "10.244.1.3"}, unknown, "its predecessor at 10.244.1.2 still answers"},
		{"no such machine", station{Machine: "w9", Socket: socket}, unknown, "w9 does not run"},
		{"no agent there", station{Machine: "w1", Socket: socket + "x"}, unknown, "no such file"},
		{"too much", station{Machine: "w1", Socket: socket}, make([]agent.Probe, agent.MaxProbes+1), "1001 probes in one request; 1000 at most"},
	}
	for _, r := range rows {
		results, err := a.ask(context.Background(), r.s, r.probes)
		switch {
		case r.want == "" && err != nil:
			t.Errorf("%s: %v", r.name, err)
		case r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)):
			t.Errorf("%s: error %v, want %q", r.name, err, r.want)
		case r.want == "":
			for i, p := range r.probes {
				if results[i].Outcome != agent.Broken || !strings.Contains(results[i].Error, fmt.Sprintf("%q", p.Kind)) {
					t.Errorf("%s: result %d is %+v", r.name, i, results[i])
				}
			}
		}
	}
}

// TestAwait: waiting follows the cluster by watches and ends as soon as nothing lacks, or
// at once where waiting is futile.
func TestAwait(t *testing.T) {
	plan := planOf(t, "quickstart")
	all := func(s state) []runtime.Object {
		var out []runtime.Object
		for _, o := range s.Pods {
			out = append(out, o)
		}
		for _, o := range s.Services {
			out = append(out, o)
		}
		for _, o := range s.Slices {
			out = append(out, o)
		}
		for _, o := range s.Nodes {
			out = append(out, o)
		}
		for _, o := range s.Deployments {
			out = append(out, o)
		}
		return out
	}
	follow := func(s state) (*cluster, *fake.Clientset) {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		client := fake.NewClientset(all(s)...)
		c, err := followCluster(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		return c, client
	}

	s := healthy(plan)
	c, _ := follow(s)
	if got := c.await(context.Background(), plan, time.Minute); len(got) != 0 {
		t.Errorf("healthy: %v", got)
	}

	late := healthy(plan)
	pod := late.pod(Namespace, "echo-w2")
	ready := pod.DeepCopy()
	pod.Status.Conditions = nil
	c, client := follow(late)
	time.AfterFunc(100*time.Millisecond, func() {
		client.CoreV1().Pods(Namespace).Update(context.Background(), ready, metav1.UpdateOptions{})
	})
	start := time.Now()
	if got := c.await(context.Background(), plan, time.Minute); len(got) != 0 || time.Since(start) > 20*time.Second {
		t.Errorf("a Pod that comes late: %v after %s", got, time.Since(start))
	}

	zero := int32(0)
	futile := healthy(plan)
	futile.Deployments[0].Spec.Replicas = &zero
	for _, slice := range futile.Slices {
		if slice.Namespace == "kube-system" {
			slice.Endpoints = nil
		}
	}
	c, _ = follow(futile)
	start = time.Now()
	if got := c.await(context.Background(), plan, time.Minute); len(got) != 1 || got[0].What != "dns" || time.Since(start) > 10*time.Second {
		t.Errorf("CoreDNS scaled to zero: %v after %s", got, time.Since(start))
	}

	stuck := healthy(plan)
	stuck.pod(Namespace, "echo-w2").Status.Conditions = nil
	c, client = follow(stuck)
	client.CoreV1().Events(Namespace).Create(context.Background(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Type: corev1.EventTypeWarning,
		Reason: "FailedMount", Message: "no disk", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: Namespace, Name: "echo-w2"}}, metav1.CreateOptions{})
	got := c.await(context.Background(), plan, 100*time.Millisecond)
	if len(got) != 1 || !strings.Contains(got[0].Why, "FailedMount: no disk") {
		t.Errorf("a Pod that never comes: %v", got)
	}
}
