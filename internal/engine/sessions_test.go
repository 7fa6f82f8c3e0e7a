package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/frr"
)

// saying is a machine in which every command is a shell script.
type saying string

func (s saying) Command(ctx context.Context, _ ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", "-c", string(s))
}
func (saying) Dial(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
func (saying) Logs() string                                   { return "" }

// Status has the sessions of the plan, with FRR's state, also those that FRR lacks or has besides. A
// router that cannot be asked is a problem; one that is off has none.
func TestSessionsOf(t *testing.T) {
	a := netip.MustParseAddr
	routing := &topology.Routing{ASN: 64500, Sessions: []topology.Session{
		{Peer: "spine1", ASN: 64503, Remote: a("10.9.1.2")}, {Peer: "spine2", ASN: 64504, Remote: a("10.9.7.2")}}}
	plan := topology.Plan{}
	running := providers.Running{Machines: map[string]providers.Machine{}, Off: []string{"off"}}
	for name, script := range map[string]string{
		"leaf": "cat ../../verify/frr/testdata/cut.json", "silent": "echo bgpd is not running; exit 1", "odd": "echo 5", "off": "exit 1",
	} {
		plan.Machines = append(plan.Machines, topology.Machine{Name: name, Role: topology.RoleRouter, Routing: routing})
		running.Machines[name] = saying(script)
	}
	plan.Machines = append(plan.Machines, topology.Machine{Name: "client"})
	running.Machines["client"] = saying("exit 1")
	all, err := sessionsOf(t.Context(), running, plan)
	var got []string
	for _, s := range all {
		got = append(got, fmt.Sprintf("%s %s %s %d %s", s.Router, s.Name, s.Peer, s.ASN, s.State))
	}
	want := []string{"leaf spine1 10.9.1.2 64502 Active", "leaf spine2 10.9.7.2 64504 " + missingSession, "leaf  10.9.2.2 64503 " + frr.Established}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("sessions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, part := range []string{"BGP sessions of router silent: vtysh: bgpd is not running", `BGP sessions of router odd: FRR: "5"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %v, want %q in it", err, part)
		}
	}
	if err != nil && strings.Contains(err.Error(), "router off") {
		t.Errorf("a router that is off was asked: %v", err)
	}
}

// steps is a Progress that records the steps that ended, with their error.
type steps struct{ ended []string }

func (s *steps) Step(name string) func(error) {
	return func(err error) { s.ended = append(s.ended, fmt.Sprintf("%s %v", name, err)) }
}
func (s *steps) Changing(name string) (func(error), func(string)) {
	return s.Step(name), func(string) {}
}
func (*steps) Note(string) {}
func (*steps) Warn(string) {}

// `up` waits for sessions that are not established yet, and says so only then.
func TestAwaitSessions(t *testing.T) {
	a := netip.MustParseAddr
	plan := topology.Plan{Machines: []topology.Machine{{Name: "leaf", Role: topology.RoleRouter, Routing: &topology.Routing{ASN: 64500,
		Sessions: []topology.Session{{Peer: "spine1", ASN: 64502, Remote: a("10.9.1.2")}, {Peer: "spine2", ASN: 64503, Remote: a("10.9.2.2")}}}}}}
	up := "cat ../../verify/frr/testdata/up.json"
	for script, want := range map[string]string{
		up: "",
		"f=" + t.TempDir() + "/asked; [ ! -e $f ] || " + up + "; [ -e $f ] || cat ../../verify/frr/testdata/cut.json; touch $f": "BGP sessions <nil>",
	} {
		var p steps
		awaitSessions(t.Context(), providers.Running{Machines: map[string]providers.Machine{"leaf": saying(script)}}, plan, &p)
		if got := strings.Join(p.ended, ", "); got != want {
			t.Errorf("%s: the steps are %q, want %q", script, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var p steps
	if awaitSessions(ctx, providers.Running{Machines: map[string]providers.Machine{"leaf": saying("exit 1")}}, plan, &p); len(p.ended) != 1 || p.ended[0] == "BGP sessions <nil>" {
		t.Errorf("after an interrupt the steps are %q", p.ended)
	}
}
