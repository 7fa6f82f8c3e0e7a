package run

import (
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

func observedOf(r agent.Result) report.Observed {
	o := report.Observed{RTTMicros: checks.MedianRTT(r)}
	if len(r.Answers) > 0 && r.Answers[0].Seen != nil {
		seen := r.Answers[0].Seen
		o.SourceIP, o.Backend, o.Node = seen.Remote, seen.Name, seen.Node
	}
	return o
}
