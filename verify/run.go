package verify

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// Prepare puts the agents and what they need into the cluster, and does not wait for
// them: `up` calls it as soon as the API server answers, while the components are still
// being installed. Calling it again changes nothing.
func Prepare(ctx context.Context, running providers.Running, o Options) error {
	config, err := running.Config()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("prepare the verification: %w", err)
	}
	// A young API server refuses some things for a moment; so does an Ingress webhook.
	ctx, cancel := context.WithTimeout(ctx, o.wait(running.Plan))
	defer cancel()
	for {
		err := applyWorkload(ctx, client, running.Plan, o.Agent, o.policyResources()...)
		if err == nil {
			return nil
		}
		if sleep(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("prepare the verification: %w", err)
		}
	}
}

// Run verifies every path of a lab that runs. Its error is about the verification as a
// whole: a cluster that cannot be read. What is wrong with a path is in the Report.
func Run(ctx context.Context, running providers.Running, o Options) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, c, err := enter(ctx, running, o)
	if err != nil {
		return Report{}, err
	}
	asker := newAsker(running.Machines)
	defer asker.close()
	config, err := running.Config()
	if err != nil {
		return Report{}, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	r := run{world: w, ask: asker.ask, settle: o.settle(running.Plan), on: liveStage{w: w, asker: asker, client: client}, l7: o.L7Policy}
	rows := r.all(ctx, Paths(running.Plan, o.Support))
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	asked := len(rows)
	rows = append(rows, gauge{world: w, on: asker, say: o.say}.all(ctx, Measures(running.Plan, o.Throughput, o.Latency))...)
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	explain(ctx, w, c.stateWithEvents, r.reaches, rows)
	if err := newTracer(w, c.state(), asker, o.Pcap).attach(ctx, rows[:asked], o.Evidence || o.Pcap != ""); err != nil && o.Evidence {
		return Report{}, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	return w.report(rows, o.CNIVersion), nil
}

// enter waits until a lab is ready to be asked, and learns what its names stand for. The
// cluster is followed until ctx ends.
func enter(ctx context.Context, running providers.Running, o Options) (world, *cluster, error) {
	fail := func(err error) (world, *cluster, error) {
		return world{}, nil, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
	}
	config, err := running.Config()
	if err != nil {
		return world{}, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fail(err)
	}
	if err := Prepare(ctx, running, o); err != nil {
		return world{}, nil, err
	}
	c, err := followCluster(ctx, client)
	if err != nil {
		return fail(err)
	}
	missing := c.await(ctx, running.Plan, o.wait(running.Plan))
	secret, err := client.CoreV1().Secrets(Namespace).Get(ctx, secretName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fail(err)
	}
	return newWorld(running.Plan, o.Support, filepath.Dir(running.Kubeconfig), c.state(), missing, secret.Data[corev1.TLSCertKey]), c, nil
}

// patience is how many times longer than elsewhere something may take: emulated machines
// are slow in everything, most of all when much begins at once.
func patience(plan topology.Plan) time.Duration {
	if plan.Virtual() {
		return 10
	}
	return 1
}

func (o Options) wait(plan topology.Plan) time.Duration {
	if o.Wait > 0 {
		return o.Wait
	}
	return time.Minute * patience(plan)
}

// say tells what is done now, where someone wants to know.
func (o Options) say(what string) {
	if o.Progress != nil {
		o.Progress(what)
	}
}

func (o Options) settle(plan topology.Plan) time.Duration {
	if o.Settle > 0 {
		return o.Settle
	}
	return 6 * time.Second * patience(plan)
}

// row is a path on its way to a Result.
type row struct {
	path    Path
	finding finding
	command string
	tries   int
	took    time.Duration
	settled bool // asking again cannot change it

	evidence *Evidence
}

// run asks all paths: reachability in rounds, in each of which every agent is asked once
// for everything it has to say; policies side by side with them.
type run struct {
	world  world
	ask    func(ctx context.Context, s station, probes []agent.Probe) ([]agent.Result, error)
	settle time.Duration
	on     stage
	l7     unstructured.Unstructured // the policy of PolicyL7, where it is not skipped
}

func (r run) all(ctx context.Context, paths []Path) []*row {
	rows := make([]*row, len(paths))
	var reach, last []*row
	var wg sync.WaitGroup
	for i, p := range paths {
		rows[i] = &row{path: p}
		switch {
		case p.Skip != "":
			rows[i].finding = finding{Outcome: Skip, Reason: p.Skip}
		case p.ID == PolicyL7:
			last = append(last, rows[i]) // its Pod is another policy's
		case p.Expected == Enforced || p.Expected == NotEnforced:
			wg.Go(func() { r.policy(ctx, rows[i]) })
		default:
			reach = append(reach, rows[i])
		}
	}
	r.reachability(ctx, reach)
	wg.Wait()
	for _, x := range last {
		r.policy(ctx, x)
	}
	return rows
}

func (r run) policy(ctx context.Context, to *row) {
	start := time.Now()
	if to.path.ID == PolicyL7 {
		policy := ownL7(r.l7)
		to.command = r.world.policyCommand(policy, l7PlayOf(r.world.cast).Denied[0])
		to.finding = r.world.performL7(ctx, policy, r.on, usualTempo(r.settle, patience(r.world.plan)))
	} else {
		play := policyOf(to.path.ID, r.world.cast)
		to.command = r.world.policyCommand(play.Policy, play.Denied)
		to.finding = r.world.perform(ctx, to.path, r.on, usualTempo(r.settle, patience(r.world.plan)))
	}
	to.tries, to.took = 1, time.Since(start)
}

// reachability asks until every path is settled: as expected, or tried at least twice and
// for as long as settle. What answers though it should not is settled at once.
func (r run) reachability(ctx context.Context, rows []*row) {
	start := time.Now()
	pause := min(200*time.Millisecond, r.settle)
	for open := rows; len(open) > 0 && ctx.Err() == nil; {
		r.round(ctx, open)
		late := time.Since(start) > r.settle && open[0].tries > 1
		var again []*row
		for _, x := range open {
			breach := x.path.Expected == Unreachable && x.finding.Outcome == Fail
			if x.finding.Outcome != Pass && !breach && !late && !x.settled {
				again = append(again, x)
			}
		}
		if open = again; len(open) > 0 {
			sleep(ctx, pause)
			pause = min(2*pause, time.Second)
		}
	}
}

// round asks the given paths once.
func (r run) round(ctx context.Context, rows []*row) {
	type place struct {
		row  int
		part string
	}
	probes, places := map[station][]agent.Probe{}, map[station][]place{}
	got := make([]map[string]agent.Result, len(rows))
	for i, x := range rows {
		x.tries++
		asks, err := r.world.asks(x.path)
		if err != nil {
			x.finding = refusal(err)
			x.finding.nodes, x.settled = r.world.nodesOf(x.path), true
			x.command = r.world.command(r.world.plainAsk(x.path))
			continue
		}
		x.command = r.world.command(asks[0])
		got[i] = map[string]agent.Result{}
		for _, a := range asks {
			s, err := r.world.station(a.From)
			if err != nil {
				got[i][a.Part] = agent.Result{Outcome: agent.Broken, Error: err.Error()}
				continue
			}
			probes[s] = append(probes[s], a.Probe)
			places[s] = append(places[s], place{i, a.Part})
		}
	}
	var mutex sync.Mutex
	var wg sync.WaitGroup
	for s := range probes {
		wg.Go(func() {
			results, err := r.ask(ctx, s, probes[s])
			mutex.Lock()
			defer mutex.Unlock()
			for i, at := range places[s] {
				if err != nil {
					got[at.row][at.part] = agent.Result{Outcome: agent.Broken, Error: err.Error()}
				} else {
					got[at.row][at.part] = results[i]
				}
			}
		})
	}
	wg.Wait()
	for i, x := range rows {
		if got[i] == nil {
			continue
		}
		x.finding = r.world.judge(x.path, got[i])
		x.took = 0
		for _, result := range got[i] {
			x.took = max(x.took, time.Duration(result.ElapsedMicros)*time.Microsecond)
		}
	}
}

// refusal is the finding of a path that could not be asked.
func refusal(err error) finding {
	var none absent
	if errors.As(err, &none) {
		return finding{Outcome: Fail, Reason: err.Error()}
	}
	return finding{Outcome: Broken, Reason: err.Error()}
}

// reaches tells whether one Node's own agent reaches another Node, and whether it could
// be asked.
func (r run) reaches(ctx context.Context, from, to string) (reached, asked bool) {
	s, err := r.world.station(Ref{Kind: AtNode, Name: from})
	if err != nil {
		return false, false
	}
	results, err := r.ask(ctx, s, []agent.Probe{{Kind: agent.HTTP, Target: "http://" + joinPort(r.world.machineIP(to), agent.PortHTTP) + "/"}})
	if err != nil || results[0].Outcome == agent.Broken {
		return false, false
	}
	return results[0].Outcome == agent.Reply, true
}

func (w world) report(rows []*row, cniVersion string) Report {
	out := Report{Lab: w.plan.Lab.String(), Provider: w.plan.Provider, Kubernetes: w.plan.Kubernetes.Version,
		CNI: CNI{Name: w.plan.CNI.Name, Version: or(cniVersion, w.plan.CNI.Version)}}
	for _, x := range rows {
		out.Paths = append(out.Paths, Result{
			ID: x.path.ID, From: w.end(x.path.From, x.path.Protocol), To: w.end(x.path.To, x.path.Protocol),
			Protocol: x.path.Protocol, Expected: x.path.Expected, Outcome: x.finding.Outcome, Reason: x.finding.Reason,
			Observed: x.finding.Observed, Properties: x.finding.Properties, Evidence: x.evidence, Tries: x.tries, Command: x.command,
			Throughput: x.finding.Throughput, Latency: x.finding.Latency,
			DurationMillis: x.took.Milliseconds(),
		})
	}
	out.Summary = summarize(out.Paths)
	return out
}

// liveStage plays policies on the cluster.
type liveStage struct {
	w      world
	asker  *asker
	client dynamic.Interface
}

func (l liveStage) Ask(ctx context.Context, from Ref, probe agent.Probe) (agent.Result, error) {
	s, err := l.w.station(from)
	if err != nil {
		return agent.Result{}, err
	}
	results, err := l.asker.ask(ctx, s, []agent.Probe{probe})
	if err != nil {
		return agent.Result{}, err
	}
	return results[0], nil
}

func (l liveStage) Apply(ctx context.Context, policy runtime.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(policy)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	_, err = l.client.Resource(resourceOf(policy)).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	return err
}

func (l liveStage) Remove(ctx context.Context, policy runtime.Object) error {
	named, err := meta.Accessor(policy)
	if err != nil {
		return err
	}
	err = l.client.Resource(resourceOf(policy)).Namespace(named.GetNamespace()).Delete(ctx, named.GetName(), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
