package checks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Finding is what the answers to a row's probes amount to.
type Finding struct {
	Outcome    string
	Reason     string
	Observed   report.Observed
	Properties []report.Property
	Throughput *report.Figure
	Latency    *report.Latency
	Nodes      []string // that packets of the row passed or should have passed

	Replied bool // of a path of the user's: the destination was reached
	Status  int  // likewise: the HTTP status of its answer
}

// Judged is a row with its finding.
type Judged struct {
	Row     Row
	Finding Finding
}

// Failed reports that a row is not as expected.
func (f Finding) Failed() bool { return f.Outcome == report.Fail || f.Outcome == report.Broken }

// Assert adds a property. The first that is not as expected fails what passed until then.
func (f *Finding) Assert(p report.Property) {
	f.Properties = append(f.Properties, p)
	if !p.OK && f.Outcome == report.Pass {
		f.Outcome, f.Reason = report.Fail, fmt.Sprintf("%s: expected %s, observed %s", p.Name, p.Expected, p.Observed)
	}
}

// Within asserts that something took at most bound.
func (f *Finding) Within(key, name string, bound, took time.Duration) {
	f.Assert(report.Property{Name: name, Expected: fmt.Sprintf("at most %g", bound.Seconds()), Observed: fmt.Sprintf("%.1f", took.Seconds()),
		OK: took <= bound, Measurement: &report.Measurement{Key: key, Value: took.Seconds(), Unit: report.UnitSeconds}})
}

// Judge compares the answers of a row with what it expects.
func Judge(s observe.Snapshot, r Row, got Answers) Finding {
	f := Finding{Outcome: report.Pass, Nodes: NodesOf(s, r)}
	main, c := got[PartMain], r.check()
	for _, part := range parts() {
		if result, asked := got[part]; asked && result.Outcome == agent.Broken {
			f.Outcome, f.Reason = report.Broken, "the probe could not run: "+result.Error
			return f
		}
	}
	if r.ID == Mine {
		judgeOwn(&f, r, got)
		return f
	}
	if r.Expected == report.Unreachable {
		judgeSilence(&f, r, main, got[PartControl])
		return f
	}
	if main.Outcome != agent.Reply {
		f.Outcome, f.Reason = report.Fail, Said(main)
	} else {
		judgeReply(s, &f, r, main)
	}
	for _, a := range c.Asserts {
		for _, p := range a.Judge(s, r, got) {
			f.Assert(p)
		}
	}
	for _, o := range owners(s, got[PartARP]) {
		if !slices.Contains(f.Nodes, o) {
			f.Nodes = append(f.Nodes, o)
		}
	}
	return f
}

// judgeReply records what the far end saw, and fails a row that was not answered by an agent.
func judgeReply(s observe.Snapshot, f *Finding, r Row, main agent.Result) {
	if r.Protocol == agent.BGP {
		return // the answer is the router's own
	}
	f.Observed.RTTMicros = MedianRTT(main)
	if r.Protocol == agent.ARP {
		return
	}
	if r.Protocol == agent.DNS {
		if main.Answers[0].DNS == nil {
			f.Outcome, f.Reason = report.Fail, "no DNS answer"
		} else {
			f.Observed.Backend = main.Answers[0].DNS.Server
		}
		return
	}
	if r.Status != 0 {
		return
	}
	seen, bad := answersOfAgents(main)
	if bad != nil {
		f.Outcome, f.Reason = report.Fail, fmt.Sprintf("HTTP status %d, not from an agent", bad.Status)
		if bad.Status == 0 {
			f.Reason = "an answer that is not from an agent"
		}
		return
	}
	names := seen.backends()
	f.Observed.Backend, f.Observed.Node = strings.Join(names, ","), nodesText(s, names)
	if !r.proxied() {
		f.Observed.SourceIP = strings.Join(seen.sources(), ",")
	}
	silent := slices.DeleteFunc(slices.Clone(main.Answers), func(a agent.Answer) bool { return a.Outcome == agent.Reply })
	if len(silent) == 0 {
		return
	}
	last := silent[len(silent)-1]
	f.Outcome, f.Reason = report.Fail, fmt.Sprintf("%d of %d requests failed: %s", len(silent), len(main.Answers), Said(agent.Result{Outcome: last.Outcome, Error: last.Error}))
	if missing := r.missing(s, names); len(missing) > 0 {
		f.Reason += "; no answer from " + strings.Join(missing, " ")
	}
}

// proxied reports whether a proxy sends the request on, so that the backend does not see
// the row's client.
func (r Row) proxied() bool { return r.To.Kind == report.AtIngress }

// judgeSilence: nothing may answer, and the control shows that something could have.
func judgeSilence(f *Finding, r Row, main, control agent.Result) {
	switch {
	case main.Outcome == agent.Reply:
		f.Outcome, f.Reason = report.Fail, "expected no reply, got one"
		if len(main.Answers) > 0 && main.Answers[0].Seen != nil {
			seen := main.Answers[0].Seen
			f.Observed = report.Observed{SourceIP: seen.Remote, Backend: seen.Name, Node: seen.Node, RTTMicros: MedianRTT(main)}
		}
	case control.Outcome != agent.Reply:
		f.Outcome = report.Broken
		f.Reason = fmt.Sprintf("inconclusive: the control probe from %s to a Node failed too (%s)", r.From.Name, Said(control))
	}
	f.Properties = append(f.Properties, report.Property{Name: "answer", Expected: "none", Observed: Said(main), OK: f.Outcome == report.Pass})
}

// agentsSeen are the answers that agents gave.
type agentsSeen []agent.Seen

// answersOfAgents returns the answers of a probe that came from agents, and the first that
// came from something else.
func answersOfAgents(main agent.Result) (seen agentsSeen, bad *agent.Answer) {
	for _, a := range main.Answers {
		switch {
		case a.Outcome != agent.Reply:
		case a.Seen == nil || a.Status != 0 && a.Status != http.StatusOK: // only HTTP has a status
			return nil, &a
		default:
			seen = append(seen, *a.Seen)
		}
	}
	return seen, nil
}

func (all agentsSeen) backends() []string {
	return distinct(all, func(s agent.Seen) string { return s.Name })
}

func (all agentsSeen) sources() []string {
	return distinct(all, func(s agent.Seen) string { return s.Remote })
}

func distinct(all agentsSeen, of func(agent.Seen) string) []string {
	var out []string
	for _, s := range all {
		out = append(out, of(s))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
