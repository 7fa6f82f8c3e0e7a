package run

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// visitLimit is how long an agent may take to start in the network namespace of a Pod.
const visitLimit = 20 * time.Second

// visitScript becomes the executable of the agent on the Node, which every Node has: $1 is its
// Pod's cgroup.
const visitScript = `for c in $(grep -lE "$1" /proc/[0-9]*/cgroup 2>/dev/null); do
  p=${c%/cgroup}
  case "$(readlink "$p/exe")" in */netlab*) exec "$p/exe" agent visit ;; esac
done
echo "the agent of the Node does not run" >&2
exit 1`

// visit starts an agent in the network namespace of each Pod of the user's that paths begin at or
// lead to, and notes in w which could not be started. leave ends them.
func visit(ctx context.Context, running providers.Running, s observe.State, w *observe.Snapshot) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	byNode := map[string][]agent.Visit{}
	w.Unvisited = map[string]string{}
	for _, p := range podsToVisit(w) {
		w.Ends[observe.Ref{Kind: report.AtPod, Name: p.Title(), Node: p.Node}] = observe.End{IP: p.IP, Pod: p}
		byNode[p.Node] = append(byNode[p.Node], agent.Visit{Name: p.Title(), UID: p.UID, IP: p.IP, Socket: workload.Socket(p.Namespace, p.Name)})
	}
	var starting, leaving sync.WaitGroup
	var mutex sync.Mutex
	left := make(chan struct{})
	for node, visits := range byNode {
		own, machine := s.Pod(workload.Namespace, workload.NodeAgent(node)), running.Machines[node]
		failed := func(why string, which ...agent.Visit) {
			mutex.Lock()
			defer mutex.Unlock()
			for _, v := range which {
				w.Unvisited[v.Name] = fmt.Sprintf("no agent in the network namespace of %s: %s", v.Name, why)
			}
		}
		if own == nil || machine == nil {
			failed("Node "+node+" has no agent", visits...)
			continue
		}
		v := visiting{machine: machine, agent: own, visits: visits, failed: failed, limit: running.Plan.Limit(visitLimit, 10*visitLimit)}
		starting.Add(1)
		leaving.Go(func() { v.run(ctx, left, starting.Done) })
	}
	starting.Wait()
	return func() {
		close(left)
		kill := time.AfterFunc(5*time.Second, cancel)
		leaving.Wait()
		kill.Stop()
		cancel()
	}
}

// podsToVisit are the Pods of the ends of the user's paths, without those that share a Node's
// network and only answer.
func podsToVisit(w *observe.Snapshot) []observe.PodRef {
	pods := map[string]observe.PodRef{}
	for r, e := range w.Ends {
		if r.Kind == report.AtPod && e.Pod.UID != "" {
			pods[e.Pod.UID] = e.Pod
		}
		for _, b := range e.Behind {
			if b.Pod.UID != "" && !b.Pod.HostNetwork && b.Pod.Namespace != workload.Namespace && b.Pod.Namespace != workload.GuestsNamespace {
				pods[b.Pod.UID] = b.Pod
			}
		}
	}
	return slices.SortedFunc(maps.Values(pods), func(a, b observe.PodRef) int { return strings.Compare(a.Title(), b.Title()) })
}

// visiting is the visits on one Node.
type visiting struct {
	machine providers.Machine
	agent   *corev1.Pod // of the Node
	visits  []agent.Visit
	failed  func(why string, which ...agent.Visit)
	limit   time.Duration
}

// run runs the agents until left is closed, and calls started once when all of them answer or have
// failed.
func (v visiting) run(ctx context.Context, left <-chan struct{}, started func()) {
	started = sync.OnceFunc(started)
	defer started()
	uid := string(v.agent.UID)
	cmd := v.machine.Command(ctx, "sh", "-c", visitScript, "visit", "pod("+uid+"|"+strings.ReplaceAll(uid, "-", "_")+")")
	var said bytes.Buffer
	answers, written := io.Pipe()
	cmd.Stdout, cmd.Stderr = written, &said
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		v.failed(err.Error(), v.visits...)
		return
	}
	go func() {
		_ = json.NewEncoder(input).Encode(v.visits) // an agent that does not read it says why
		<-left
		input.Close()
	}()
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		written.Close()
		ended <- err
	}()
	open := map[string]agent.Visit{}
	for _, x := range v.visits {
		open[x.Name] = x
	}
	late := time.AfterFunc(v.limit, func() { written.CloseWithError(errors.New("it did not answer within " + v.limit.String())) })
	var why error
	for in := json.NewDecoder(answers); len(open) > 0 && why == nil; {
		var a agent.Visited
		if why = in.Decode(&a); why == nil && a.Error != "" {
			v.failed(a.Error, open[a.Name])
		}
		delete(open, a.Name)
	}
	late.Stop()
	if errors.Is(why, io.EOF) {
		why = errors.Join(<-ended, errors.New(cmp.Or(strings.TrimSpace(said.String()), "it ended")))
		ended <- nil
	}
	if why != nil {
		v.failed(why.Error(), slices.Collect(maps.Values(open))...)
	}
	started()
	go io.Copy(io.Discard, answers)
	<-ended
}
