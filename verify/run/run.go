// Package run verifies a running lab. Prepare creates the agents in the cluster; Run sends
// them the probes that package checks derives from the plan, tests the policies, measures,
// and returns a report.Report; Trace makes one probe and shows its packets. Agents are
// reached over unix sockets, so that a broken network cannot hide its own evidence.
package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Run verifies every path of a running lab. Its error is about the verification as a whole:
// a cluster that cannot be read. Failures of paths are in the Report.
func Run(ctx context.Context, running providers.Running, o Options) (report.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, c, err := enter(ctx, running, o)
	if err != nil {
		return report.Report{}, err
	}
	agents := newClient(running)
	defer agents.close()
	w.Own = agents.addresses(ctx, w)
	config, err := running.Config()
	if err != nil {
		return report.Report{}, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return report.Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	leave, err := visitOwn(ctx, running, c, &o, &w)
	if err != nil {
		return report.Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	defer leave()
	live := liveCluster{w: w, agents: agents, client: client}
	r := verification{snapshot: w, ask: agents.ask, settle: o.settle(running.Plan), on: live, rolls: live, image: o.Agent, own: o.Policies,
		facts: sync.OnceValue(func() checks.Facts { return checks.FactsOf(w, c.StateWithPolicies(ctx)) })}
	rows := r.all(ctx, o.Extent.Rows(running.Plan, o.Support))
	if err := ctx.Err(); err != nil {
		return report.Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	asked := len(rows)
	traced := newTracer(w, c.State(), agents, o.Pcap)
	traced.own(ctx, rows, r.settle)
	rows = append(rows, measurer{snapshot: w, on: agents, say: o.say}.all(ctx, checks.Measurements(running.Plan, o.Support, o.Throughput, o.Latency))...)
	if err := ctx.Err(); err != nil {
		return report.Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	checks.Explain(ctx, w, c.StateWithEvents, r.reaches, judgedOf(rows))
	if err := traced.attach(ctx, rows[:asked], o.Evidence || o.Pcap != ""); err != nil && o.Evidence {
		return report.Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	return reportOf(w, rows, o.Extent, o.CNIVersion), nil
}

// enter waits until a lab is ready to be probed, and resolves its names. The cluster is
// watched until ctx ends.
func enter(ctx context.Context, running providers.Running, o Options) (observe.Snapshot, *observe.Cluster, error) {
	fail := func(err error) (observe.Snapshot, *observe.Cluster, error) {
		return observe.Snapshot{}, nil, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	config, err := running.Config()
	if err != nil {
		return observe.Snapshot{}, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fail(err)
	}
	if err := controlPlaneOff(running); err != nil {
		return fail(err)
	}
	away := running.Plan.Limit(apiAway, 10*apiAway)
	refused, err := prepare(ctx, running, o, away, running.Plan.Limit(webhookAway, 10*webhookAway))
	if err != nil {
		return fail(err)
	}
	c, err := observe.Follow(ctx, client, running.Off)
	if err != nil {
		return fail(err)
	}
	c.Installed, c.Refused, c.Enforced = o.Installed, refused, o.Support.NetworkPolicy
	c.Raw = func(ctx context.Context, path string) ([]byte, error) {
		return client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
	}
	missing := c.Await(ctx, running.Plan, checks.Pods(running.Plan), o.wait(running.Plan))
	var secret *corev1.Secret
	err = whileAway(ctx, away, func(ctx context.Context) (err error) {
		secret, err = client.CoreV1().Secrets(workload.Namespace).Get(ctx, workload.SecretName, metav1.GetOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fail(err)
	}
	w := observe.New(running.Plan, o.Support, checks.Pods(running.Plan), c.State(), missing, secret.Data[corev1.TLSCertKey])
	w.CA = config.CAData
	w.LinksDown, w.Impaired = running.LinksDown, running.Impaired
	return w, c, nil
}

// attempt is a path that is being verified.
type attempt struct {
	checks.Judged
	command string
	tries   int
	took    time.Duration
	settled bool // no further try can change it

	evidence *report.Evidence
}

func judgedOf(rows []*attempt) []*checks.Judged {
	out := make([]*checks.Judged, len(rows))
	for i, x := range rows {
		out[i] = &x.Judged
	}
	return out
}

// verification probes all paths: reachability in rounds, each with one request per agent;
// policies concurrently with them.
type verification struct {
	snapshot observe.Snapshot
	ask      func(ctx context.Context, s observe.Station, probes []agent.Probe) ([]agent.Result, error)
	settle   time.Duration
	on       cluster
	rolls    roller
	image    string                               // of the agent
	own      map[string]unstructured.Unstructured // policies that are specific to the CNI, by path
	facts    func() checks.Facts                  // read at the first failure; nil: none
}

// known reports whether the cluster's state explains a failure: another try would change nothing.
func (r verification) known(x checks.Judged) bool { return r.facts != nil && r.facts().Known(x) != "" }

func (r verification) all(ctx context.Context, paths []checks.Row) []*attempt {
	rows := make([]*attempt, len(paths))
	var reach []*attempt
	turns := map[string][]*attempt{} // policies that must not be in force at the same time
	var wg sync.WaitGroup
	for i, p := range paths {
		rows[i] = &attempt{Judged: checks.Judged{Row: p}}
		switch {
		case p.Skip != "":
			rows[i].Finding = checks.Finding{Outcome: report.Skip, Reason: p.Skip}
		case p.Rolling() != nil:
			wg.Go(func() { r.roll(ctx, rows[i]) })
		case p.Policy() == nil:
			reach = append(reach, rows[i])
		case p.Expected == report.NotEnforced: // one without effect is in no other's way
			turns[p.ID] = append(turns[p.ID], rows[i])
		default:
			turns[p.Policy().Pod()] = append(turns[p.Policy().Pod()], rows[i])
		}
	}
	for _, of := range turns {
		wg.Go(func() {
			for _, x := range of {
				r.policy(ctx, x)
			}
		})
	}
	r.reachability(ctx, reach)
	wg.Wait()
	return rows
}

func (r verification) policy(ctx context.Context, to *attempt) {
	start := time.Now()
	scenario := to.Row.Policy().Scenario(r.snapshot)
	var own runtime.Object = labelled(r.own[to.Row.ID])
	if scenario.Policy != nil {
		own = scenario.Policy
	}
	to.command = policyCommand(r.snapshot, own, scenario.Denied[0])
	for _, leg := range append(slices.Clone(scenario.Denied), scenario.Allowed...) {
		for _, end := range []observe.Ref{leg.From, leg.To} {
			if _, err := r.snapshot.Station(end); err != nil {
				to.Finding, to.tries = refusal(err), 1
				return
			}
		}
	}
	explained := func() bool { return r.known(to.Judged) }
	to.Finding = policyRun{r.snapshot, r.on, explained, usualTiming(r.settle, observe.Patience(r.snapshot.Plan))}.play(ctx, scenario, own, to.Row.Expected)
	to.tries, to.took = 1, time.Since(start)
}

// reachability probes until every path is settled: as expected, or tried at least twice and
// for as long as settle. An unexpected reply settles a path immediately, and so does a failure that
// the cluster's state explains.
func (r verification) reachability(ctx context.Context, rows []*attempt) {
	start := time.Now()
	pause := min(200*time.Millisecond, r.settle)
	for open := rows; len(open) > 0 && ctx.Err() == nil; {
		r.round(ctx, open)
		late := time.Since(start) > r.settle && open[0].tries > 1
		var again []*attempt
		for _, x := range open {
			// A policy of the user's may have been applied a moment ago.
			breach := x.Row.Expected == report.Unreachable && x.Finding.Outcome == report.Fail && x.Row.ID != checks.Mine
			captured := x.Row.ByCapture() && x.Row.Expected == report.Reachable // an answer is not required
			if x.Finding.Outcome != report.Pass && !breach && !late && !x.settled && !captured && !r.known(x.Judged) {
				again = append(again, x)
			}
		}
		if open = again; len(open) > 0 {
			sleep(ctx, pause)
			pause = min(2*pause, time.Second)
		}
	}
}

// clientsAtOnce bounds how many agents send probes at the same time. They share this machine's CPU: of
// more, some probes would wait for it until they time out.
const clientsAtOnce = 16

// round probes the given paths once; the controls of the user's own that must be denied twice:
// with the other probes, and when these are answered.
func (r verification) round(ctx context.Context, rows []*attempt) {
	asks, got := make([][]checks.Ask, len(rows)), make([]checks.Answers, len(rows))
	controls := make([][]checks.Ask, len(rows))
	for i, x := range rows {
		x.tries++
		of, err := checks.AsksOf(r.snapshot, x.Row)
		if err != nil {
			x.Finding = refusal(err)
			x.Finding.Nodes, x.settled = checks.NodesOf(r.snapshot, x.Row), true
			x.command = checks.Command(r.snapshot, checks.PlainAsk(r.snapshot, x.Row))
			continue
		}
		x.command = checks.Command(r.snapshot, of[0])
		asks[i], got[i] = of, checks.Answers{}
		if x.Row.ID == checks.Mine {
			controls[i] = slices.DeleteFunc(slices.Clone(of), func(a checks.Ask) bool { return !a.Part.Controls() })
		}
	}
	r.send(ctx, asks, got)
	r.send(ctx, controls, got)
	for i, x := range rows {
		if got[i] == nil {
			continue
		}
		x.Finding = checks.Judge(r.snapshot, x.Row, got[i])
		x.took = 0
		for _, result := range got[i] {
			x.took = max(x.took, time.Duration(result.ElapsedMicros)*time.Microsecond)
		}
	}
}

// send sends the probes of rows, each agent's in one request, and adds their results to got. Of a
// probe that is sent again the worse result stays.
func (r verification) send(ctx context.Context, asks [][]checks.Ask, got []checks.Answers) {
	type place struct {
		row  int
		part checks.Part
	}
	add := func(at place, result agent.Result) {
		if was, again := got[at.row][at.part]; !again || was.Outcome == agent.Reply {
			got[at.row][at.part] = result
		}
	}
	probes, places := map[observe.Station][]agent.Probe{}, map[observe.Station][]place{}
	for i, of := range asks {
		for _, a := range of {
			s, err := r.snapshot.Station(a.From)
			if err != nil {
				add(place{i, a.Part}, agent.Result{Outcome: agent.Broken, Error: err.Error()})
				continue
			}
			probes[s] = append(probes[s], a.Probe)
			places[s] = append(places[s], place{i, a.Part})
		}
	}
	var mutex sync.Mutex
	var asking errgroup.Group
	asking.SetLimit(clientsAtOnce)
	for s := range probes {
		asking.Go(func() error {
			results, err := r.ask(ctx, s, probes[s])
			mutex.Lock()
			defer mutex.Unlock()
			for i, at := range places[s] {
				if err != nil {
					add(at, agent.Result{Outcome: agent.Broken, Error: err.Error()})
				} else {
					add(at, results[i])
				}
			}
			return nil
		})
	}
	_ = asking.Wait()
}

// refusal is the finding of a path that could not be probed.
func refusal(err error) checks.Finding {
	var none observe.Absent
	if errors.As(err, &none) {
		return checks.Finding{Outcome: report.Fail, Reason: err.Error()}
	}
	return checks.Finding{Outcome: report.Broken, Reason: err.Error()}
}

// reaches reports whether the agent on one Node reaches another Node, and whether it could
// be probed.
func (r verification) reaches(ctx context.Context, from, to string) (reached, asked bool) {
	s, err := r.snapshot.Station(observe.Ref{Kind: report.AtNode, Name: from})
	if err != nil {
		return false, false
	}
	results, err := r.ask(ctx, s, []agent.Probe{{Kind: agent.HTTP, Target: "http://" + observe.JoinPort(r.snapshot.MachineIP(to), agent.HostNetworkHTTP) + "/"}})
	if err != nil || results[0].Outcome == agent.Broken {
		return false, false
	}
	return results[0].Outcome == agent.Reply, true
}
