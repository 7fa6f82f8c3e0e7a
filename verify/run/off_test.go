package run

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// withoutMachine loses what a machine would have answered.
func withoutMachine(plan topology.Plan, name string) func(string, agent.Probe, *agent.Result) *agent.Result {
	m, _ := plan.Machine(name)
	lost := observetest.Silence(agent.Timeout, "i/o timeout")
	return func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
		if strings.Contains(p.Target, m.Address().String()+":") {
			return &lost
		}
		asked := false
		for i, a := range r.Answers {
			if a.Seen != nil && a.Seen.Node == name {
				r.Answers[i], asked = lost.Answers[0], true
			}
		}
		if asked && !slices.ContainsFunc(r.Answers, func(a agent.Answer) bool { return a.Outcome == agent.Reply }) {
			return &lost
		}
		return r
	}
}

// With a machine off, each path from it and to it fails with that reason, without a probe where one
// could only time out; paths that do not need it pass.
func TestMachineOff(t *testing.T) {
	for _, c := range []struct{ scenario, off string }{{"quickstart", "w2"}, {"quickstart", "client"}, {"routed-client", "router"}} {
		plan := plantest.Plan(t, c.scenario)
		s := observetest.Healthy(plan)
		s.Off = []string{c.off}
		w, rows := reach(t, plan, plantest.Flannel(), s, withoutMachine(plan, c.off))
		passed := 0
		for _, x := range rows {
			r := x.Row
			ends := []string{r.From.Name, r.From.Node, r.To.Name, r.To.Node}
			switch {
			case r.Skip != "":
			case x.Finding.Outcome == report.Pass && !slices.Contains(ends, c.off):
				passed++
			case x.Finding.Outcome != report.Fail || !strings.Contains(x.Finding.Reason, c.off+" is off"):
				t.Errorf("%s without %s: %s %s → %s: %s %q", c.scenario, c.off, r.ID, r.From.Name, r.To.Name, x.Finding.Outcome, x.Finding.Reason)
			case slices.Contains(ends, c.off) && x.tries > 1:
				t.Errorf("%s without %s: %s %s → %s was probed %d times", c.scenario, c.off, r.ID, r.From.Name, r.To.Name, x.tries)
			}
		}
		if passed < 10 && c.off != "router" {
			t.Errorf("%s without %s: only %d paths pass", c.scenario, c.off, passed)
		}
		if got := reportOf(w, rows, checks.Extent{}, "").Notices; len(got) == 0 || got[0] != c.off+" is off" {
			t.Errorf("%s without %s: notices %q", c.scenario, c.off, got)
		}
	}
}

// Paths that need a link that is down name it, and the report does; others pass.
func TestLinkDown(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	w := observetest.Snapshot(plan, plantest.Flannel(), s)
	w.LinksDown = map[string][]string{"w2": {"eth0"}}
	lost := withoutMachine(plan, "w2")
	n := observetest.Network{W: w, Upset: func(from string, p agent.Probe, r *agent.Result) *agent.Result {
		if w.NodeOfPod(from) == "w2" {
			return r
		}
		return lost(from, p, r)
	}}
	r := verification{snapshot: w, settle: time.Millisecond, ask: func(_ context.Context, s observe.Station, probes []agent.Probe) ([]agent.Result, error) {
		return n.Ask(s, probes), nil
	}}
	var paths []checks.Row
	for _, p := range checks.Rows(plan, plantest.Flannel()) {
		if p.Policy() == nil {
			paths = append(paths, p)
		}
	}
	rows := r.all(t.Context(), paths)
	checks.Explain(t.Context(), w, func(context.Context) observe.State { return s }, r.reaches, judgedOf(rows))
	failed := 0
	for _, x := range rows {
		if x.Finding.Outcome == report.Fail {
			failed++
			if !strings.Contains(x.Finding.Reason, "the link of w2 eth0 is down") {
				t.Errorf("%s %s → %s: %q", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Reason)
			}
		}
	}
	if got := reportOf(w, rows, checks.Extent{}, "").Notices; failed < 5 || len(got) < 2 || got[0] != "the link of w2 eth0 is down" || !strings.HasPrefix(got[1], "VIP ") {
		t.Errorf("%d paths fail; notices %q", failed, got)
	}
}

// A policy whose Pods are on a Node that is off fails with that reason, and is not played.
func TestPolicyOff(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	for _, n := range plan.Nodes() {
		s.Off = append(s.Off, n.Name)
	}
	r := verification{snapshot: observetest.Snapshot(plan, plantest.Enforcing(), s), settle: time.Minute}
	for _, x := range checks.Rows(plan, plantest.Enforcing()) {
		if x.Policy() == nil || x.Skip != "" {
			continue
		}
		to := &attempt{Judged: checks.Judged{Row: x}}
		r.policy(t.Context(), to)
		if to.Finding.Outcome != report.Fail || !strings.Contains(to.Finding.Reason, " is off") {
			t.Errorf("%s: %s %q", x.ID, to.Finding.Outcome, to.Finding.Reason)
		}
	}
}

// Nothing is on what a Node with a silent kubelet runs: its Pods' paths fail for that. What its
// kernel does goes on, and is probed.
func TestKubeletSilent(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	s.Node("w2").Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}}
	for _, p := range s.Pods {
		if p.Spec.NodeName == "w2" {
			p.Status.Conditions = nil
		}
	}
	for _, slice := range s.Slices {
		for i, e := range slice.Endpoints {
			if e.TargetRef == nil {
				continue // the API server's
			}
			if p := s.Pod(e.TargetRef.Namespace, e.TargetRef.Name); p.Spec.NodeName == "w2" {
				no := false
				slice.Endpoints[i].Conditions.Ready = &no
			}
		}
	}
	w, rows := reach(t, plan, plantest.Flannel(), s, nil)
	for _, x := range rows {
		r, ends := x.Row, x.Row.From.Kind == report.AtPod && x.Row.From.Node == "w2" || x.Row.To.Kind == report.AtPod && x.Row.To.Node == "w2"
		switch {
		case ends && (x.Finding.Outcome != report.Fail || !strings.Contains(x.Finding.Reason, "Node w2 is not Ready: NodeStatusUnknown")):
			t.Errorf("%s %s → %s: %s %q", r.ID, r.From.Name, r.To.Name, x.Finding.Outcome, x.Finding.Reason)
		case r.ID == checks.OutsideToNodePort && r.To.Node == "w2" && r.Expected == report.Reachable && x.Finding.Outcome != report.Pass:
			t.Errorf("the NodePort of w2: %s %q", x.Finding.Outcome, x.Finding.Reason)
		}
	}
	notices := reportOf(w, rows, checks.Extent{}, "").Notices
	if len(notices) < 2 || !strings.HasPrefix(notices[0], "Node w2 is not Ready") || !strings.HasPrefix(notices[1], "VIP 172.30.0.20") || !strings.Contains(notices[1], " is announced by w") {
		t.Errorf("notices: %q", notices)
	}
}

// The API server of a verification may be away for a moment, and not for a minute.
func TestAPIServerAway(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // it closes each connection, as the forwarder does without an API server
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: t}}]\n" +
		"clusters: [{name: a, cluster: {server: 'https://" + l.Addr().String() + "', insecure-skip-tls-verify: true}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = prepare(context.Background(), providers.Running{Plan: plantest.Plan(t, "quickstart"), Kubeconfig: file}, Options{Support: plantest.Flannel()}, time.Second, time.Second)
	if err == nil || !strings.Contains(err.Error(), "the API server did not answer within 1s") || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// Without a control plane there is nothing to verify, and no waiting for it.
func TestControlPlaneOff(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	for _, c := range []struct {
		off  []string
		want string
	}{{nil, ""}, {[]string{"w1"}, ""}, {[]string{"w1", "cp"}, "no control plane is on; machines that are off: w1, cp"}} {
		err := controlPlaneOff(providers.Running{Plan: plan, Off: c.off})
		if got := ""; err != nil && err.Error() != c.want || err == nil && got != c.want {
			t.Errorf("%q: %v", c.off, err)
		}
	}
}
