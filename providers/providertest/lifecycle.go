package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/internal/kube"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

func (l *lab) check(t *testing.T) {
	if err := l.New().Check(t.Context(), l.plan); err != nil {
		t.Errorf("requirements not met: %v", err)
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("check created the lab's directory (%v)", err)
	}
}

// create: the machines run, and the Nodes get Ready once there is a CNI.
func (l *lab) create(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	if err := l.up(ctx, t); err != nil {
		t.Fatal(err)
	}
	if l.running.APIPort == 0 {
		t.Error("no port of this machine reaches the API server")
	}
	l.ready(ctx, t)
}

// ready waits until the cluster's Nodes are the plan's, and all Ready.
func (l *lab) ready(ctx context.Context, t *testing.T) {
	t.Helper()
	client, err := l.running.Client()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, m := range l.plan.Nodes() {
		want[m.Name] = m.Address().String() + " Ready"
	}
	for {
		got := map[string]string{}
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, n := range nodes.Items {
				got[n.Name] = describe(n)
			}
			if maps.Equal(got, want) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Nodes are %v, want %v (%v)", got, want, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func describe(n corev1.Node) string {
	text := ""
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			text += a.Address
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			text += " Ready"
		}
	}
	return text
}

// again: a second Create changes nothing.
func (l *lab) again(t *testing.T) {
	was := l.boots(t)
	running, err := l.New().Create(t.Context(), l.request(t))
	if err != nil {
		t.Fatal(err)
	}
	if running.APIPort != l.running.APIPort {
		t.Errorf("the API server's port was %d and is %d", l.running.APIPort, running.APIPort)
	}
	if is := l.boots(t); !maps.Equal(was, is) {
		t.Errorf("machines were started again: %v, then %v", was, is)
	}
}

// attach: another process finds the same machines.
func (l *lab) attach(t *testing.T) {
	running, err := l.New().Attach(t.Context(), l.plan, l.dir)
	if err != nil {
		t.Fatal(err)
	}
	was := l.boots(t)
	l.running.Machines = running.Machines
	if is := l.boots(t); !maps.Equal(was, is) {
		t.Errorf("attached to other machines: %v, want %v", is, was)
	}
	if running.Kubeconfig != l.running.Kubeconfig {
		t.Errorf("kubeconfig is %s, want %s", running.Kubeconfig, l.running.Kubeconfig)
	}
	l.healthy(t)
}

func (l *lab) healthy(t *testing.T) {
	t.Helper()
	state, err := l.root.Read(l.plan.Lab)
	if err != nil {
		t.Fatal(err)
	}
	if err := providers.Healthy(t.Context(), l.New(), state, l.dir); err != nil {
		t.Errorf("the lab is not healthy: %v%s", err, l.notReady(t))
	}
}

// notReady describes the Pods that are not Ready, one a line: why, and what their containers do.
func (l *lab) notReady(t *testing.T) (lines string) {
	t.Helper()
	client, err := l.running.Client()
	if err != nil {
		return err.Error()
	}
	pods, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, p := range pods.Items {
		if !kube.PodReady(&p) {
			conditions, _ := json.Marshal(p.Status.Conditions)
			containers, _ := json.Marshal(p.Status.ContainerStatuses)
			lines += fmt.Sprintf("\n%s/%s on %s: %s %s", p.Namespace, p.Name, p.Spec.NodeName, conditions, containers)
		}
	}
	return lines
}

// becomesHealthy waits for it: Pods of a Node that was off become available after the Node is Ready.
func (l *lab) becomesHealthy(ctx context.Context, t *testing.T) {
	t.Helper()
	state, err := l.root.Read(l.plan.Lab)
	if err != nil {
		t.Fatal(err)
	}
	for {
		err := providers.Healthy(ctx, l.New(), state, l.dir)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the lab does not become healthy: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// killed: a killed Node is reported by Attach and started again by Create with the same disk, while
// the others keep running.
func (l *lab) killed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	was := l.boots(t)
	if _, err := command.Run(l.running.Machines["a"].Command(ctx, "sh", "-c", "echo kept >/var/lib/kept; sync /var/lib/kept")); err != nil {
		t.Fatal(err)
	}
	if err := l.Kill(ctx, l.plan.Lab, l.dir, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.New().Attach(ctx, l.plan, l.dir); err == nil || !strings.Contains(err.Error(), "a ") || hint(err) == "" {
		t.Errorf("attach to a lab without Node a says %v (hint %q)", err, hint(err))
	}
	died := time.Now()
	if err := l.up(ctx, t); err != nil {
		t.Fatal(err)
	}
	is := l.boots(t)
	if is["a"] == was["a"] {
		t.Error("Node a was not started again")
	}
	if is["cp"] != was["cp"] {
		t.Error("Node cp was started again, which had not died")
	}
	if text, err := command.Run(l.running.Machines["a"].Command(ctx, "cat", "/var/lib/kept")); err != nil || string(text) != "kept\n" {
		t.Errorf("its disk has %q (%v)", text, err)
	}
	l.heard(ctx, t, "a", died)
	l.ready(ctx, t)
	l.healthy(t)
}

// heard waits until a Node's kubelet has renewed its lease since a given time: a dead Node keeps its
// Ready condition for a while.
func (l *lab) heard(ctx context.Context, t *testing.T, node string, after time.Time) {
	t.Helper()
	client, err := l.running.Client()
	if err != nil {
		t.Fatal(err)
	}
	for {
		lease, err := client.CoordinationV1().Leases("kube-node-lease").Get(ctx, node, metav1.GetOptions{})
		if err == nil && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(after) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("kubelet of Node %s has not renewed its lease (%v)", node, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// grow: a new machine is added to a running lab.
func (l *lab) grow(t *testing.T, plan topology.Plan) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	was := l.boots(t)
	l.plan = plan
	if err := l.up(ctx, t); err != nil {
		t.Fatal(err)
	}
	is := l.boots(t)
	if _, added := is["b"]; !added {
		t.Error("there is no machine b")
	}
	delete(is, "b")
	if !maps.Equal(was, is) {
		t.Errorf("other machines were started again: %v, then %v", was, is)
	}
	l.ready(ctx, t)
}

// shrink: a machine that is no longer in the plan is removed, and its Node object with it.
func (l *lab) shrink(t *testing.T, plan topology.Plan) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	was, extra := l.boots(t), l.running.Machines["b"]
	delete(was, "b")
	l.plan = plan
	if err := l.up(ctx, t); err != nil {
		t.Fatal(err)
	}
	if is := l.boots(t); !maps.Equal(was, is) {
		t.Errorf("machines are %v, want %v", is, was)
	}
	if out, err := command.Run(extra.Command(ctx, "true")); err == nil {
		t.Errorf("the removed machine still runs commands: %s", out)
	}
	l.ready(ctx, t)
}

// gone deletes the lab, twice, and checks for leftovers.
func (l *lab) gone(t *testing.T, before residue.Snapshot) {
	for _, when := range []string{"first", "second"} {
		ctx, cancel := context.WithTimeout(t.Context(), l.limit())
		defer cancel()
		if err := providers.Down(ctx, l.root, l.plan.Lab, l.New()); err != nil {
			t.Fatalf("%s delete: %v", when, err)
		}
	}
	NothingLeft(t, before, l.plan.Lab.Label())
	if entries, err := os.ReadDir(string(l.root)); err != nil || len(entries) > 0 {
		t.Errorf("left in the state directory: %v (%v)", entries, err)
	}
	if _, err := l.New().Attach(t.Context(), l.plan, l.dir); err == nil {
		t.Error("attach finds a lab that was deleted")
	}
	if f, ok := l.New().(providers.Finder); ok {
		if labs, err := f.Find(); err != nil || slices.Contains(labs, l.plan.Lab) {
			t.Errorf("find gives %v (%v)", labs, err)
		}
	}
}

// boots identifies the current start of each machine.
func (l *lab) boots(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range l.plan.Machines {
		machine, there := l.running.Machines[m.Name]
		if !there {
			t.Fatalf("machine %s is missing", m.Name)
		}
		text, err := command.Run(machine.Command(t.Context(), "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"))
		if err != nil {
			t.Fatal(err)
		}
		// proc_pid_stat(5), counted after the name: the 20th is the start time.
		_, after, _ := strings.Cut(string(text), ") ")
		boot, _, _ := strings.Cut(string(text), "\n")
		out[m.Name] = fmt.Sprintf("boot %s, PID 1 since tick %s", boot, strings.Fields(after)[19])
	}
	return out
}
