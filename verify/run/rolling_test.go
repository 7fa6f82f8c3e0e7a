package run

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// rollout fakes a cluster in which backends are replaced: correct, or wrong in one way.
type rollout struct {
	drops   bool // a request fails while a backend ends
	moves   bool // a flow changes its backend although it lives
	sticks  bool // a flow stays with a backend that is gone
	ignores bool // a backend that joined gets no requests
	lingers bool // a backend that ends gets requests until it is gone
	refuses bool // the second backend is not admitted

	mutex sync.Mutex
	ready map[string]bool
	left  map[string]bool // objects that were created and not removed
	ended string          // the backend that is gone
}

// ending is how long a backend of the fake goes on after its deletion.
const ending = 60 * time.Millisecond

// starting is how long a backend of the fake takes until it is ready.
const starting = 20 * time.Millisecond

func (c *rollout) Apply(_ context.Context, o runtime.Object) error {
	if _, backend := o.(*corev1.Pod); backend {
		time.Sleep(starting)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch o := o.(type) {
	case *corev1.Service:
		c.left[o.Name] = true
	case *corev1.Pod:
		if c.refuses && len(c.ready) == 1 {
			return errors.New("exceeded quota")
		}
		if _, there := c.ready[o.Name]; there {
			return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "pods"}, o.Name)
		}
		c.left[o.Name], c.ready[o.Name] = true, true
	}
	return nil
}

func (c *rollout) Remove(_ context.Context, o runtime.Object) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch o := o.(type) {
	case *corev1.Service:
		delete(c.left, o.Name)
	case *corev1.Pod:
		delete(c.left, o.Name)
		if _, there := c.ready[o.Name]; there {
			c.ready[o.Name] = false
			time.AfterFunc(ending, func() {
				c.mutex.Lock()
				defer c.mutex.Unlock()
				delete(c.ready, o.Name)
				c.ended = o.Name
			})
		}
	}
	return nil
}

func (c *rollout) Backends(context.Context, string) (string, map[string]bool, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return "10.96.0.9", maps.Clone(c.ready), nil
}

// serving is a backend for a request, and whether the request is answered.
func (c *rollout) serving(p agent.Probe, n int, before string) (name string, ok bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if p.Flow && before != "" && !(c.moves && n > 2) {
		if _, lives := c.ready[before]; lives || c.sticks {
			return before, lives
		}
	}
	var able []string
	for i := 1; i <= 3; i++ {
		for name, ready := range c.ready {
			if strings.HasSuffix(name, string(rune('0'+i))) && (ready || c.lingers && i == 1 && n%2 == 0) && !(c.ignores && i > 1) {
				able = append(able, name)
			}
		}
	}
	for _, ready := range c.ready {
		if c.drops && !ready && n%2 == 0 {
			return "", false
		}
	}
	if len(able) == 0 {
		return "", false
	}
	if c.moves && p.Flow {
		return able[len(able)-1], true
	}
	return able[n%len(able)], true
}

func (c *rollout) Ask(_ context.Context, _ observe.Ref, p agent.Probe) (agent.Result, error) {
	r, start, before := agent.Result{Outcome: agent.Reply}, time.Now(), ""
	for n := 0; n < p.Count || time.Since(start) < time.Duration(p.ForMillis)*time.Millisecond; n++ {
		at := time.Since(start)
		name, ok := c.serving(p, n, before)
		a := observetest.Silence(agent.Timeout, "i/o timeout").Answers[0]
		if ok {
			a, before = observetest.Reply(name, "w1", "10.244.1.2"), name
		}
		a.AfterMicros, a.RTTMicros = at.Microseconds(), 100
		r.Answers = append(r.Answers, a)
		if p.ForMillis > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return r, nil
}

func TestRollout(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	all := []string{checks.ServiceDrain, checks.ServiceFlowTCP, checks.ServiceFlowUDP}
	tests := map[string]struct {
		ids             []string
		wrong           func(*rollout)
		outcome, reason string
	}{
		"as it should be":                  {all, func(*rollout) {}, report.Pass, ""},
		"an error while a backend ends":    {all[:1], func(c *rollout) { c.drops = true }, report.Fail, "requests answered"},
		"requests until the backend ends":  {all[:1], func(c *rollout) { c.lingers = true }, report.Pass, ""},
		"a connection changes its backend": {all[1:2], func(c *rollout) { c.moves = true }, report.Fail, "backend of the connection"},
		"a socket stays with its backend":  {all[2:], func(c *rollout) { c.sticks = true }, report.Fail, "backend of the socket after its own has ended: expected service-flow-udp-2, observed none"},
		"what joins gets no requests":      {all, func(c *rollout) { c.ignores = true }, report.Broken, "no request to Service"},
		"a Pod that the cluster refuses":   {all, func(c *rollout) { c.refuses = true }, report.Broken, "exceeded quota"},
	}
	for name, test := range tests {
		for _, id := range test.ids {
			t.Run(name+"/"+id, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					on := rollout{ready: map[string]bool{}, left: map[string]bool{}}
					test.wrong(&on)
					check, _ := checks.Find(id)
					row := check.Rows(checks.Lab{Plan: plan, Pods: w.Pods})[0]
					row.ID = id
					p := &rollRun{Snapshot: w, on: &on, image: "agent", series: 4 * time.Second, bound: 100 * time.Millisecond, pause: time.Millisecond, row: row}
					f := p.play(t.Context())
					if f.Outcome != test.outcome || !strings.Contains(f.Reason, test.reason) {
						t.Errorf("%s: %s", f.Outcome, f.Reason)
					}
					if len(on.left) > 0 {
						t.Errorf("left in the cluster: %v", on.left)
					}
				})
			})
		}
	}
}

// What it waits for and does not come ends it with a reason, and what was created is removed.
func TestRolloutTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := plantest.Plan(t, "quickstart")
		w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
		on := rollout{ready: map[string]bool{}, left: map[string]bool{}}
		row := checks.Row{ID: checks.ServiceDrain, From: observe.AtPod(w.Pods.Echo[0]), To: observe.AtService(checks.ServiceDrain), Protocol: agent.HTTP}
		p := &rollRun{Snapshot: w, on: &on, image: "agent", series: 500 * time.Millisecond, bound: 100 * time.Millisecond, pause: time.Millisecond, row: row}
		if f := p.play(t.Context()); f.Outcome != report.Broken || !p.late || !strings.Contains(f.Reason, "the machine is too busy") || len(on.left) > 0 {
			t.Errorf("%s %s, left %v", f.Outcome, f.Reason, on.left)
		}
		p.series = 4 * time.Second
		if f := p.play(t.Context()); f.Outcome != report.Pass || p.late {
			t.Errorf("with more time: %s %s", f.Outcome, f.Reason)
		}
	})
}

// A backend goes on serving after its deletion for less than its grace period.
func TestRollingPod(t *testing.T) {
	p := workload.RollingPod("s", 1, "w1", "agent")
	stop := p.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	if grace := *p.Spec.TerminationGracePeriodSeconds; stop != workload.DrainSeconds || grace <= stop || p.Spec.Containers[0].ReadinessProbe == nil {
		t.Errorf("it serves for %d s of %d, readiness %v", stop, grace, p.Spec.Containers[0].ReadinessProbe)
	}
	for key, value := range workload.RollingService("s").Spec.Selector {
		if p.Labels[key] != value {
			t.Errorf("the Service selects %s=%s, and the Pod has %v", key, value, p.Labels)
		}
	}
}
