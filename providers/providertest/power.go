package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// switched: single machines are switched off and on, a cable is pulled, a link is made slow; what else is
// in the lab is left alone.
func (l *lab) switched(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	s := l.New().(providers.Switcher)
	a, _ := l.plan.Machine("a")
	client, _ := l.plan.Machine("client")
	l.pulled(ctx, t, s, a)
	l.impaired(ctx, t, a)

	if got := l.answerOf(ctx, t, a); got != "refused" {
		t.Errorf("a machine that is on answers a closed port with %q", got)
	}
	was := l.boots(t)
	for range 2 {
		if err := s.PowerOff(ctx, l.plan, l.dir, []topology.Machine{a, client}); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.answerOf(ctx, t, a); got == "refused" || got == "reply" {
		t.Errorf("a machine that is off answers: %s", got)
	}
	running, err := l.New().Attach(ctx, l.plan, l.dir)
	slices.Sort(running.Off)
	if !providers.OnlyOff(err) || !slices.Equal(running.Off, []string{"a", "client"}) {
		t.Errorf("off are %q (%v)", running.Off, err)
	}
	state, err := l.root.Read(l.plan.Lab)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	if err := providers.Healthy(ctx, l.New(), state, l.dir); err != nil {
		said = err.Error()
	}
	for _, name := range []string{"node a is off", "host client is off"} {
		if strings.Count(said, name) != 1 || strings.Contains(said, "differ from the plan") {
			t.Errorf("with %s the lab is said to be unhealthy by %q", name, said)
		}
	}
	off := time.Now()
	if err := providers.PowerOn(ctx, l.root, s, state, []topology.Machine{a, client}, l.request(t).Step); err != nil {
		t.Fatal(err)
	}
	if running, err = l.New().Attach(ctx, l.plan, l.dir); err != nil || len(running.Off) > 0 {
		t.Fatalf("off are %q (%v)", running.Off, err)
	}
	l.running.Machines = running.Machines
	is := l.boots(t)
	if is["a"] == was["a"] || is["client"] == was["client"] {
		t.Errorf("boots are %v, were %v", is, was)
	}
	for _, boots := range []map[string]string{was, is} {
		delete(boots, "a")
		delete(boots, "client")
	}
	if !maps.Equal(was, is) {
		t.Errorf("other machines were started again: %v, then %v", was, is)
	}
	l.heard(ctx, t, "a", off)
	l.ready(ctx, t)
	l.becomesHealthy(ctx, t)
}

// pulled sets the link of a machine's last NIC down and up.
func (l *lab) pulled(ctx context.Context, t *testing.T, s providers.Switcher, m topology.Machine) {
	t.Helper()
	nic := m.NICs[len(m.NICs)-1]
	for _, up := range []bool{false, false, true} {
		if err := s.SetLink(ctx, l.plan, m, nic, up); err != nil {
			t.Fatal(err)
		}
		down, err := s.LinksDown(ctx, l.plan)
		if err != nil || slices.Contains(down[m.Name], nic.Name) == up {
			t.Errorf("links down: %v (%v), %s %s is to be up: %t", down, err, m.Name, nic.Name, up)
		}
		want := map[bool]string{true: "1", false: "0"}[up]
		for {
			out, err := command.Run(l.running.Machines[m.Name].Command(ctx, "cat", "/sys/class/net/"+nic.Name+"/carrier"))
			if err == nil && string(bytes.TrimSpace(out)) == want {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("carrier of %s %s is %q (%v), want %s", m.Name, nic.Name, out, err, want)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// impaired gives the link of a machine's last NIC a rate, and takes it back. The lab is unhealthy meanwhile.
func (l *lab) impaired(ctx context.Context, t *testing.T, m topology.Machine) {
	t.Helper()
	p := l.New().(providers.Impairer)
	nic := m.NICs[len(m.NICs)-1]
	state, err := l.root.Read(l.plan.Lab)
	if err != nil {
		t.Fatal(err)
	}
	slow := labs.Impairment{Rate: 100e6}
	for _, i := range []labs.Impairment{slow, slow, {}} {
		if err := p.Impair(ctx, l.plan, m, nic, i); err != nil {
			t.Fatal(err)
		}
		all, err := p.Impaired(ctx, l.plan)
		if err != nil || all[m.Name][nic.Name] != i || len(all) > 1 {
			t.Errorf("impaired links: %v (%v), %s %s is to be %s", all, err, m.Name, nic.Name, i)
		}
		differs := "impairing the link of " + m.Name + " " + nic.Name
		if is := providers.Healthy(ctx, l.New(), state, l.dir); (is != nil && strings.Contains(is.Error(), differs)) == i.None() {
			t.Errorf("with a link that is %s the lab is %v", i, is)
		}
	}
}

// answerOf is how a closed TCP port of a machine answers the router.
func (l *lab) answerOf(ctx context.Context, t *testing.T, m topology.Machine) string {
	t.Helper()
	out, err := l.running.Machines["router"].Command(ctx, "timeout", "2", "bash", "-c", "</dev/tcp/"+m.Address().String()+"/9").CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "reply"
	case strings.Contains(string(out), "Connection refused"):
		return "refused"
	case strings.Contains(string(out), "No route to host"):
		return "unreachable"
	case errors.As(err, &exit) && exit.ExitCode() == 124: // timeout(1)
		return "timeout"
	}
	return fmt.Sprintf("%s (%v)", out, err)
}
