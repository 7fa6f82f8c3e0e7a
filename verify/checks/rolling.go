package checks

import (
	"fmt"
	"time"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths to a Service while one of its backends is replaced.
const (
	ServiceDrain   = "service-drain"
	ServiceFlowTCP = "service-flow-tcp"
	ServiceFlowUDP = "service-flow-udp"
)

// Rolling is a path that is probed for a while: to a Service with one backend, which another one
// joins, of which then one ends as a rollout ends it (see workload.DrainSeconds).
type Rolling struct {
	Flow  bool // on one connection or socket, from the first backend on; else a new one for each request
	Joins bool // it is the backend that joined that ends, and one more takes its place
}

// rolling are the entries of these paths. Each has a Service and backends of its own, which exist
// only while it is probed.
func rolling() []Check {
	entry := func(id, title, protocol string, x Rolling) Check {
		return Check{
			ID: id, Section: sectionServices, Title: title, Thorough: true, Rolling: &x,
			Rows: func(l Lab) []Row {
				return []Row{reach(l.last(), observe.AtService(id)).over(protocol)}
			},
			Asserts:  []Assertion{Rolled{Rolling: x, Protocol: protocol}},
			Suspects: []Suspect{lostPackets, kubeProxyOfClient},
		}
	}
	return []Check{
		entry(ServiceDrain, "Pod → Service of which a backend joins and another ends, a new connection for each request", agent.HTTP, Rolling{}),
		entry(ServiceFlowTCP, "Pod → Service on one TCP connection, while another backend is replaced", agent.HTTP, Rolling{Flow: true, Joins: true}),
		entry(ServiceFlowUDP, "Pod → Service from one UDP socket, while its backend is replaced", agent.UDP, Rolling{Flow: true}),
	}
}

// Rolled asserts what a client sees of a rollout. It is judged on the series of its requests (see
// verify/run).
type Rolled struct {
	alone
	Rolling
	Protocol string
}

func (x Rolled) String() string {
	const how = "between positive controls; with `--thorough`"
	switch {
	case !x.Flow:
		return fmt.Sprintf("no request sees an error; seconds until the ending backend gets no more, at most the %d that it goes on serving; %s", workload.DrainSeconds, how)
	case x.Joins:
		return "every request on the connection is answered, by the same backend; the longest wait for an answer in seconds; " + how
	}
	return "the remaining backend answers the same socket; seconds without an answer; " + how
}

// Judge returns nothing: a probe at one moment does not prove a rollout.
func (Rolled) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }

// Roll is the course of a rollout as its client sees it.
type Roll struct {
	Series      agent.Result  // the client's
	First, Next string        // the backend at its beginning, and the one that joined
	Ending      time.Duration // from the series' beginning until the deletion of the backend that ends
	Ended       time.Duration // until it was gone
	Bound       time.Duration // for a change of the backends to take effect
}

// JudgeRoll adds to a finding what a rollout's series of requests shows.
func JudgeRoll(f *Finding, x Rolling, protocol string, r Roll) {
	answered, last := 0, map[string]time.Duration{}
	var longest, silence, since time.Duration
	for _, a := range r.Series.Answers {
		at := time.Duration(a.AfterMicros) * time.Microsecond
		if a.Outcome != agent.Reply || a.Seen == nil {
			continue
		}
		answered++
		last[a.Seen.Name] = at
		longest = max(longest, time.Duration(a.RTTMicros)*time.Microsecond)
		silence, since = max(silence, at-since), at
	}
	all, failed := len(r.Series.Answers), firstFailure(r.Series)
	observed := fmt.Sprintf("%d of %d", answered, all)
	if failed != "" {
		observed += ": " + failed
	}
	every := report.Property{Key: report.KeyAnswered, Name: "requests answered", Expected: fmt.Sprintf("%d of %d", all, all), Observed: observed, OK: answered == all}
	seen, _ := answersOfAgents(r.Series)
	switch {
	case !x.Flow:
		f.Assert(every)
		f.Assert(backendIs("backends", fmt.Sprint([]string{r.First, r.Next}), fmt.Sprint(seen.backends())))
		f.Within(report.MeasuredDrained, "seconds from the deletion to its last request", workload.DrainSeconds*time.Second, max(last[r.First]-r.Ending, 0))
	case x.Joins:
		f.Assert(every)
		f.Assert(backendIs("backend of the connection", fmt.Sprint([]string{r.First}), fmt.Sprint(seen.backends())))
		f.Within(report.MeasuredLongest, "longest wait for an answer in seconds", r.Bound/5, longest)
	default:
		end := "none"
		if n := len(r.Series.Answers); n > 0 && r.Series.Answers[n-1].Outcome == agent.Reply && r.Series.Answers[n-1].Seen != nil {
			end = r.Series.Answers[n-1].Seen.Name
		}
		f.Assert(backendIs("backend of the socket after its own has ended", r.Next, end))
		f.Within(report.MeasuredSilence, "longest time without an answer in seconds", r.Bound, silence)
	}
}

func backendIs(name, expected, observed string) report.Property {
	return report.Property{Key: report.KeyBackend, Name: name, Expected: expected, Observed: observed, OK: expected == observed}
}

// firstFailure describes the first request of a series that failed.
func firstFailure(r agent.Result) string {
	for _, a := range r.Answers {
		if a.Outcome != agent.Reply {
			return fmt.Sprintf("%s after %.1f s", Said(agent.Result{Outcome: a.Outcome, Error: a.Error}), float64(a.AfterMicros)/1e6)
		}
	}
	return ""
}
