package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// roller is a cluster in which backends are replaced, or a fake.
type roller interface {
	Ask(ctx context.Context, from observe.Ref, probe agent.Probe) (agent.Result, error)
	Apply(ctx context.Context, object runtime.Object) error
	Remove(ctx context.Context, object runtime.Object) error // gracefully
	// Backends returns a Service's ClusterIP and the Pods behind it, each with whether it gets new
	// requests; a Pod that is terminating is listed until it is gone.
	Backends(ctx context.Context, service string) (ip string, ready map[string]bool, err error)
}

// rollRun replaces a backend of one path's Service while its client sends requests.
type rollRun struct {
	observe.Snapshot
	on     roller
	image  string // of the agent
	series time.Duration
	bound  time.Duration // for a change to take effect
	pause  time.Duration // between two looks

	row   checks.Row
	nodes []string
	ip    string
	late  bool // the series ended before the rollout
}

// seriesLength is how long a client sends requests: a rollout of two Pods takes a third of it.
const seriesLength = 24 * time.Second

func (r verification) roll(ctx context.Context, to *attempt) {
	start, slower := time.Now(), observe.Patience(r.snapshot.Plan)
	to.command = shell.Join("netlab", "verify", r.snapshot.Plan.Lab.String(), "--thorough")
	to.tries = 1
	if _, err := r.snapshot.Station(to.Row.From); err != nil {
		to.Finding = refusal(err)
		return
	}
	p := &rollRun{Snapshot: r.snapshot, on: r.rolls, image: r.image, series: seriesLength * slower, bound: 10 * time.Second * slower,
		pause: 100 * time.Millisecond * slower, row: to.Row}
	to.Finding = p.play(ctx)
	if p.late { // a busy machine: once more, with time for that
		p.series *= 3
		to.tries, to.Finding = 2, p.play(ctx)
	}
	to.took = time.Since(start)
}

// play creates the Service and its backends, replaces one of them during the client's series, and
// removes them all.
func (p *rollRun) play(ctx context.Context) (f checks.Finding) {
	f = checks.Finding{Outcome: report.Pass, Nodes: []string{p.row.From.Node}}
	p.nodes, p.late = nil, false
	for _, pod := range p.Pods.Echo {
		if p.Away[pod.Node] == "" {
			p.nodes = append(p.nodes, pod.Node)
		}
	}
	if len(p.nodes) == 0 {
		return broken(f, "no Node is Ready")
	}
	f.Nodes = append(f.Nodes, p.nodes[0], p.nodes[1%len(p.nodes)])
	defer p.clear(ctx)
	if err := p.on.Apply(ctx, workload.RollingService(p.service())); err != nil {
		return broken(f, "create Service %s: %v", p.service(), err)
	}
	if err := p.join(ctx, 1); err != nil {
		return broken(f, "the positive control before the rollout: %v", err)
	}
	step(&f, report.StepBefore, "before the rollout", "a reply", "a reply", true)

	start := time.Now()
	served := make(chan error, 1)
	roll := checks.Roll{First: p.backend(1), Next: p.backend(2), Bound: p.bound}
	go func() {
		var err error
		roll.Series, err = p.on.Ask(ctx, p.row.From, p.client())
		served <- err
	}()
	err := p.replace(ctx, start, &roll)
	if asked := <-served; asked != nil || err != nil {
		return broken(f, "during the rollout: %v", observe.Join(text(asked), text(err)))
	}
	if p.late = roll.Ended+time.Second > p.series; p.late {
		return broken(f, "the rollout took %.1f s, longer than the %.0f s for which its client sent requests: the machine is too busy", roll.Ended.Seconds(), p.series.Seconds())
	}
	f.Observed = observedOf(roll.Series)
	checks.JudgeRoll(&f, *p.row.Rolling(), p.row.Protocol, roll)
	return f
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// replace lets the second backend join, and one of both end.
func (p *rollRun) replace(ctx context.Context, start time.Time, roll *checks.Roll) error {
	if err := p.join(ctx, 2); err != nil {
		return err
	}
	ends := 1
	if p.row.Rolling().Joins {
		ends = 2
	}
	roll.Ending = time.Since(start)
	if err := p.on.Remove(ctx, workload.RollingPod(p.service(), ends, "", p.image)); err != nil {
		return fmt.Errorf("delete %s: %w", p.backend(ends), err)
	}
	if ends == 2 {
		if err := p.join(ctx, 3); err != nil {
			return err
		}
	}
	err := p.until(ctx, fmt.Sprintf("%s is still terminating", p.backend(ends)), func(ready map[string]bool) bool {
		_, there := ready[p.backend(ends)]
		return !there
	})
	roll.Ended = time.Since(start)
	return err
}

// join creates a backend, and waits until it answers new requests to the Service.
func (p *rollRun) join(ctx context.Context, n int) error {
	limit := time.Now().Add(p.series)
	for {
		err := p.on.Apply(ctx, workload.RollingPod(p.service(), n, p.nodes[(n-1)%len(p.nodes)], p.image))
		if err == nil {
			break
		}
		// That of an earlier try may still be terminating.
		if !apierrors.IsAlreadyExists(err) || ctx.Err() != nil || time.Now().After(limit) {
			return fmt.Errorf("create %s: %w", p.backend(n), err)
		}
		sleep(ctx, p.pause)
	}
	if err := p.until(ctx, p.backend(n)+" is not ready", func(ready map[string]bool) bool { return ready[p.backend(n)] }); err != nil {
		return err
	}
	limit = time.Now().Add(p.bound)
	for {
		ask := agent.Probe{Kind: agent.HTTP, Target: p.target(agent.HTTP), Count: 8, Parallel: true}
		r, err := p.on.Ask(ctx, p.row.From, ask)
		answers := slices.ContainsFunc(r.Answers, func(a agent.Answer) bool { return a.Seen != nil && a.Seen.Name == p.backend(n) })
		switch {
		case answers:
			return nil
		case ctx.Err() != nil || time.Now().After(limit):
			return fmt.Errorf("%s is ready, and no request to Service %s reached it within %.0f s: %s %s", p.backend(n), p.service(), p.bound.Seconds(), checks.Said(r), text(err))
		}
		sleep(ctx, p.pause)
	}
}

// until waits for the Service's backends, and keeps its ClusterIP.
func (p *rollRun) until(ctx context.Context, unmet string, good func(ready map[string]bool) bool) error {
	limit := time.Now().Add(p.series)
	for {
		ip, ready, err := p.on.Backends(ctx, p.service())
		if err == nil && good(ready) {
			p.ip = ip
			return nil
		}
		if ctx.Err() != nil || time.Now().After(limit) {
			return fmt.Errorf("timed out waiting: %s", observe.Join(unmet, text(err)))
		}
		sleep(ctx, p.pause)
	}
}

// clear removes what play created. What it leaves, the next verification removes.
func (p *rollRun) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiAway+5*time.Second)
	defer cancel()
	for n := 1; n <= 3; n++ {
		_ = p.on.Remove(ctx, workload.RollingPod(p.service(), n, "", p.image))
	}
	_ = p.on.Remove(ctx, workload.RollingService(p.service()))
}

func (p *rollRun) service() string { return p.row.To.Name }

func (p *rollRun) backend(n int) string { return workload.RollingName(p.service(), n) }

func (p *rollRun) target(protocol string) string {
	target := observe.JoinPort(p.ip, 80)
	if protocol == agent.HTTP {
		return "http://" + target + "/"
	}
	return target
}

// client is the series of requests.
func (p *rollRun) client() agent.Probe {
	timeout := 3000 // longer than TCP takes to send a SYN again
	if p.row.Protocol == agent.UDP {
		timeout = 300 // the next datagram may have another fate
	}
	return agent.Probe{Kind: p.row.Protocol, Target: p.target(p.row.Protocol), Flow: p.row.Rolling().Flow,
		ForMillis: int(p.series.Milliseconds()), PauseMillis: 50, TimeoutMillis: timeout}
}

func (l liveCluster) Backends(ctx context.Context, service string) (ip string, ready map[string]bool, err error) {
	err = whileAway(ctx, l.away(), func(ctx context.Context) error {
		x, err := l.client.Resource(corev1.SchemeGroupVersion.WithResource("services")).Namespace(workload.Namespace).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ip, _, _ = unstructured.NestedString(x.Object, "spec", "clusterIP")
		slices, err := l.client.Resource(discoveryv1.SchemeGroupVersion.WithResource("endpointslices")).Namespace(workload.Namespace).
			List(ctx, metav1.ListOptions{LabelSelector: workload.ServiceLabel + "=" + service})
		if err != nil {
			return err
		}
		ready = map[string]bool{}
		for _, item := range slices.Items {
			var s discoveryv1.EndpointSlice
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &s); err != nil {
				return err
			}
			for _, e := range s.Endpoints {
				if e.TargetRef != nil {
					ready[e.TargetRef.Name] = e.Conditions.Ready == nil || *e.Conditions.Ready
				}
			}
		}
		return nil
	})
	return ip, ready, err
}
