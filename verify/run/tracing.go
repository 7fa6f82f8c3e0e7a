package run

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/trace"
	"netlab.dev/netlab/verify/workload"
)

// Bounds on the cost of evidence.
const (
	maxFailed   = 40 // failed paths that are probed again, without --evidence
	repetitions = 8  // of a probe that failed only sometimes
)

// tracing bounds one set of probes under capture.
func tracing(plan topology.Plan) time.Duration {
	return 20 * time.Second * min(observe.Patience(plan), 2)
}

// tracer probes paths again while every interface that they can cross is captured.
type tracer struct {
	snapshot observe.Snapshot
	facts    trace.Facts
	agents   *client
	pcap     string // directory; "" for none
}

func newTracer(w observe.Snapshot, s observe.State, a *client, pcap string) tracer {
	f := trace.Facts{Plan: w.Plan, Services: map[netip.Addr]string{}, ReplacesKube: w.Support.ReplacesProxy, ServesPods: w.Support.ServesPods,
		Encapsulation: w.Support.Encapsulation, Announcer: w.Plan.LoadBalancer.Name, Listeners: w.Support.Listeners}
	for _, p := range s.Pods {
		if ip, err := netip.ParseAddr(p.Status.PodIP); err == nil && !p.Spec.HostNetwork && p.Status.Phase == corev1.PodRunning {
			f.Pods = append(f.Pods, trace.Pod{Name: podTitle(p.Namespace, p.Name), Node: p.Spec.NodeName, IP: ip})
		}
	}
	for _, x := range s.Services {
		for _, text := range []string{x.Spec.ClusterIP, observe.VIPOf(x)} {
			if ip, err := netip.ParseAddr(text); err == nil {
				f.Services[ip] = podTitle(x.Namespace, x.Name)
			}
		}
	}
	return tracer{snapshot: w, facts: f, agents: a, pcap: pcap}
}

// podTitle leaves out netlab's own namespaces.
func podTitle(namespace, name string) string {
	if namespace == workload.Namespace || namespace == workload.GuestsNamespace {
		return name
	}
	return namespace + "/" + name
}

// probing is one path under capture.
type probing struct {
	main   checks.Ask
	before []checks.Ask // sent first: ARP for the VIP
	title  string
	pods   []string // whose interfaces the packets may cross
	passes bool     // the path got a reply

	result   agent.Result
	evidence *report.Evidence
}

// traceable reports whether packets of a probe can be distinguished.
func traceable(p agent.Probe) bool {
	return slices.Contains([]string{agent.HTTP, agent.HTTPS, agent.TCP, agent.UDP, agent.DNS}, p.Kind)
}

// attach adds evidence to rows: to all, or to those that failed. It takes as long as the
// slowest probe, and as long again where probes timed out. Policies are left out: they are
// not in force during the capture.
func (t tracer) attach(ctx context.Context, rows []*attempt, all bool) error {
	var of []*attempt
	var probes []*probing
	for i, x := range rows {
		if x.evidence != nil || x.Finding.Outcome == report.Skip || x.Row.Expected == report.Enforced || x.Row.Expected == report.NotEnforced || !all && (!x.Finding.Failed() || len(of) == maxFailed) {
			continue
		}
		p := t.probing(fmt.Sprintf("%02d", i+1), x)
		if p == nil {
			continue
		}
		of, probes = append(of, x), append(probes, p)
	}
	if len(probes) == 0 {
		return nil
	}
	if err := t.runAll(ctx, probes); err != nil {
		return err
	}
	for i, x := range of {
		x.evidence = probes[i].evidence
		if !x.Finding.Failed() || x.evidence == nil {
			continue
		}
		x.Finding.Reason = observe.Join(x.Finding.Reason, x.evidence.Lost)
		if x.Row.Expected == report.Reachable && x.Finding.Observed.Backend == "" && len(x.Finding.Properties) == 0 && allReplied(probes[i].result) {
			x.Finding.Reason += "; probed again under capture, it answered"
		}
	}
	return nil
}

// probing is the probe of a path under capture; nil where packets could not be distinguished.
// All probes run at once, so that emulated machines get a longer timeout.
func (t tracer) probing(number string, x *attempt) *probing {
	asks, err := checks.AsksOf(t.snapshot, x.Row)
	if err != nil || !traceable(asks[0].Probe) {
		return nil
	}
	p := &probing{main: asks[0], passes: x.Row.Expected == report.Reachable && x.Finding.Outcome == report.Pass, pods: t.podsOf(x.Row),
		title: fmt.Sprintf("%s-%s-%s-to-%s", number, x.Row.ID, x.Row.From.Name, x.Row.To.Name)}
	for _, a := range asks[1:] {
		if a.Part == checks.PartARP {
			p.before = append(p.before, a)
		}
	}
	main := &p.main.Probe
	count := main.Count
	main.Count, main.Parallel = 1, true
	if x.Finding.Failed() {
		main.Count = min(max(count, 1), repetitions)
	}
	main.TimeoutMillis = int((main.Timeout() * observe.Patience(t.snapshot.Plan)).Milliseconds())
	return p
}

func allReplied(r agent.Result) bool {
	return len(r.Answers) > 0 && !slices.ContainsFunc(r.Answers, func(a agent.Answer) bool { return a.Outcome != agent.Reply })
}

// podsOf lists the Pods with agents that packets of a path may reach.
func (t tracer) podsOf(p checks.Row) []string {
	pods := []string{p.From.Name, p.To.Name}
	for _, b := range t.snapshot.Ends[p.To].Behind {
		pods = append(pods, b.Pod.Title())
	}
	pods = append(pods, t.snapshot.Services[p.To.Name].Ready...)
	for _, r := range workload.IngressRoutes() {
		if p.To.Kind == report.AtIngress && r.Host+r.Path == p.To.Name {
			pods = append(pods, t.snapshot.Services[r.Service].Ready...)
		}
	}
	return pods
}

// runAll runs probes, and repeats those of passing paths that got no answer: with all probes
// running at once they may have timed out.
func (t tracer) runAll(ctx context.Context, probes []*probing) error {
	if err := t.run(ctx, probes); err != nil {
		return err
	}
	late := slices.DeleteFunc(slices.Clone(probes), func(p *probing) bool { return !p.passes || allReplied(p.result) })
	if len(late) == 0 {
		return nil
	}
	return t.run(ctx, late)
}

// run makes all the probes under one capture, and sets the evidence of each.
func (t tracer) run(ctx context.Context, probes []*probing) error {
	ctx, cancel := context.WithTimeout(ctx, tracing(t.snapshot.Plan))
	defer cancel()
	pods := map[string]bool{}
	for _, p := range probes {
		p.main.Probe.Trace = rand.Text()[:10]
		for _, name := range p.pods {
			pods[name] = true
		}
	}
	running := capture(ctx, t.snapshot, t.agents, pods, t.without(probes))
	t.askAll(ctx, probes)
	places, err := running.end(ctx)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	captured := trace.Index(t.facts, places)
	for _, p := range probes {
		if err := t.explain(captured, p); err != nil {
			return err
		}
	}
	return nil
}

// without are the ports that are not captured: those of the cluster's own traffic, but for the
// API server's where a probe goes there.
func (t tracer) without(probes []*probing) []uint16 {
	plan := t.snapshot.Plan
	api := slices.ContainsFunc(probes, func(p *probing) bool {
		to := targetAddress(p.main.Probe)
		return to != "" && (to == t.snapshot.Services[workload.ServiceAPI].ClusterIP || to == plan.Kubernetes.API.Addr().String())
	})
	return slices.DeleteFunc(controlPorts(plan), func(port uint16) bool { return api && port == plan.Kubernetes.API.Port() })
}

// askAll sends the ARP probes for VIPs, and then the others, each agent's in one request.
func (t tracer) askAll(ctx context.Context, probes []*probing) {
	var first, then []checks.Ask
	var results []*agent.Result
	for _, p := range probes {
		first, then = append(first, p.before...), append(then, p.main)
		results = append(results, &p.result)
	}
	t.askEach(ctx, first, nil)
	t.askEach(ctx, then, results)
}

func (t tracer) askEach(ctx context.Context, asks []checks.Ask, results []*agent.Result) {
	batches := map[observe.Station][]int{}
	for i, a := range asks {
		if s, err := t.snapshot.Station(a.From); err == nil {
			batches[s] = append(batches[s], i)
		} else if results != nil {
			*results[i] = agent.Result{Outcome: agent.Broken, Error: err.Error()}
		}
	}
	var wg sync.WaitGroup
	for s, batch := range batches {
		wg.Go(func() {
			var probes []agent.Probe
			for _, i := range batch {
				probes = append(probes, asks[i].Probe)
			}
			got, err := t.agents.ask(ctx, s, probes)
			for k, i := range batch {
				switch {
				case results == nil:
				case err != nil:
					*results[i] = agent.Result{Outcome: agent.Broken, Error: err.Error()}
				default:
					*results[i] = got[k]
				}
			}
		})
	}
	wg.Wait()
}

// explain sets a probe's evidence: that of its first repetition without an answer, else that
// of its first.
func (t tracer) explain(c *trace.Captures, p *probing) error {
	if len(p.result.Answers) == 0 {
		return nil
	}
	i := max(0, slices.IndexFunc(p.result.Answers, func(a agent.Answer) bool { return a.Outcome != agent.Reply }))
	answer := p.result.Answers[i]
	asked := trace.Probe{Place: slices.IndexFunc(c.Places, t.isFrom(p.main.From)), Sockets: answer.Sockets,
		Token: agent.Token(p.main.Probe.Trace, i), Answered: answer.Outcome == agent.Reply}
	if asked.Place < 0 {
		return nil
	}
	for _, a := range p.before {
		asked.ARP, _ = netip.ParseAddr(a.Probe.Target)
	}
	e := c.Evidence(asked)
	p.evidence = &e
	if t.pcap == "" {
		return nil
	}
	e.Pcap = filepath.Join(t.pcap, fileName(p.title)+".pcapng")
	return t.write(c, asked, e.Pcap)
}

func (t tracer) isFrom(r observe.Ref) func(trace.Place) bool {
	return func(p trace.Place) bool {
		if r.Kind == report.AtPod || r.Kind == report.AtContainer {
			return p.Pod == r.Name
		}
		return p.Pod == "" && p.Machine == r.Name
	}
}

func (t tracer) write(c *trace.Captures, p trace.Probe, path string) error {
	if err := os.MkdirAll(t.pcap, 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := c.WritePcap(f, p); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

// fileName keeps the characters of a title that every file system accepts.
func fileName(title string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r) {
			return r
		}
		return '_'
	}, title)
}
