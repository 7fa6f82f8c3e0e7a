// Package verify proves a lab's communication paths. It takes a Running lab, derives
// the paths that its plan should have, what each is expected to do, and gives a
// Report with one Result a path. Its agent (verify/agent) runs in Pods and outside
// hosts and is driven over unix sockets, so that a broken network cannot hide its
// own evidence.
//
// The stages: Paths derives the rows (paths.go), Prepare puts the agents into the
// cluster (cast.go, workload.go, apply.go), cluster.go waits for what the rows need,
// ask.go turns a row into probes, judge.go their answers into an outcome, and
// diagnose.go names the likely culprit of a failure. Policies, which change the
// cluster, are in policy.go.
package verify

import (
	"time"

	"netlab.dev/netlab/components"
)

// Options tells Prepare and Run what the lab's plan does not.
type Options struct {
	Support    components.Support
	Agent      string        // reference of the agent's image, present on every Node
	CNIVersion string        // for the report
	Wait       time.Duration // for agents, VIPs and endpoints to be there; 60 s unless told
	Settle     time.Duration // how long a path that should work is tried again; 6 s unless told
}

// Outcomes of a path. A probe that could not run is broken, and never counts as blocked.
const (
	Pass   = "pass"
	Fail   = "fail"
	Skip   = "skip"
	Broken = "broken"
)

// Expectations of a path.
const (
	Reachable   = "reachable"
	Unreachable = "unreachable"
	Enforced    = "enforced"
	NotEnforced = "not-enforced"
)

// Report is the result of one verification. Its JSON is a contract with other tools.
type Report struct {
	Lab        string   `json:"lab"`
	Provider   string   `json:"provider"`
	Kubernetes string   `json:"kubernetes"`
	CNI        CNI      `json:"cni"`
	Paths      []Result `json:"paths"`
	Summary    Summary  `json:"summary"`
}

// CNI names the Pod network that was verified.
type CNI struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Result is one path: what was expected, what was seen.
type Result struct {
	ID             string     `json:"id"`
	From           End        `json:"from"`
	To             End        `json:"to"`
	Protocol       string     `json:"protocol"`
	Expected       string     `json:"expected"`
	Outcome        string     `json:"outcome"`
	Reason         string     `json:"reason,omitempty"`
	Observed       Observed   `json:"observed"`
	Properties     []Property `json:"properties,omitempty"`
	Tries          int        `json:"tries,omitempty"` // how often it was asked
	Command        string     `json:"command"`         // reruns the probe by hand
	DurationMillis int64      `json:"durationMillis"`
}

// End is one end of a path.
type End struct {
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
	IP   string `json:"ip,omitempty"`
}

// Observed is what the far end saw, and where the reply came from.
type Observed struct {
	SourceIP  string `json:"sourceIP,omitempty"`
	Backend   string `json:"backend,omitempty"` // several are joined by commas
	Node      string `json:"node,omitempty"`    // that the backend runs on
	RTTMicros int64  `json:"rttMicros,omitempty"`
}

// Property is one thing asserted of a path beside the plain reply.
type Property struct {
	Name     string `json:"name"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
	OK       bool   `json:"ok"`
}

// Summary counts the outcomes.
type Summary struct {
	Pass   int `json:"pass"`
	Fail   int `json:"fail"`
	Skip   int `json:"skip"`
	Broken int `json:"broken"`
}

// ExitCode is 0 if every path is as expected, else 1. Skipped paths do not count.
func (r Report) ExitCode() int {
	if r.Summary.Fail+r.Summary.Broken > 0 {
		return 1
	}
	return 0
}

func summarize(results []Result) Summary {
	var s Summary
	for _, r := range results {
		switch r.Outcome {
		case Pass:
			s.Pass++
		case Fail:
			s.Fail++
		case Skip:
			s.Skip++
		default:
			s.Broken++
		}
	}
	return s
}
