package engine

import (
	"context"
	"maps"
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// switchboard is a provider whose machines can be switched, and remembers how.
type switchboard struct {
	*fake
	off   map[string]bool
	down  map[string][]string
	worse topology.Impaired
}

func (s *switchboard) Attach(_ context.Context, plan topology.Plan, _ string) (providers.Running, error) {
	running := providers.Running{Plan: plan, Machines: map[string]providers.Machine{}, Off: slices.Sorted(maps.Keys(s.off))}
	var err error
	for _, m := range plan.Machines {
		running.Machines[m.Name] = nil
		if s.off[m.Name] && m.Kind == topology.KindNode {
			err = providers.Off(m)
		}
	}
	return running, err
}

func (s *switchboard) PowerOff(_ context.Context, _ topology.Plan, _ string, machines []topology.Machine) error {
	for _, m := range machines {
		*s.asked = append(*s.asked, "off "+m.Name)
		s.off[m.Name] = true
	}
	return nil
}

func (s *switchboard) PowerOn(_ context.Context, _ providers.Request, machines []topology.Machine) error {
	for _, m := range machines {
		*s.asked = append(*s.asked, "on "+m.Name)
		delete(s.off, m.Name)
	}
	return nil
}

func (s *switchboard) SetLink(_ context.Context, _ topology.Plan, m topology.Machine, nic topology.NIC, up bool) error {
	*s.asked = append(*s.asked, "link "+m.Name+" "+nic.Name)
	s.down[m.Name] = slices.DeleteFunc(s.down[m.Name], func(name string) bool { return name == nic.Name })
	if !up {
		s.down[m.Name] = append(s.down[m.Name], nic.Name)
	}
	return nil
}

func (s *switchboard) LinksDown(context.Context, topology.Plan) (map[string][]string, error) {
	return s.down, nil
}

func (s *switchboard) Impair(_ context.Context, _ topology.Plan, m topology.Machine, nic topology.NIC, i labs.Impairment) error {
	*s.asked = append(*s.asked, "impair "+m.Name+" "+nic.Name+": "+i.String())
	delete(s.worse, m.Name)
	s.worse.Set(m.Name, nic.Name, i)
	return nil
}

func (s *switchboard) Impaired(context.Context, topology.Plan) (topology.Impaired, error) {
	return s.worse, nil
}

// silence is a Progress that nobody sees.
type silence struct{}

func (silence) Step(string) func(error) { return func(error) {} }
func (silence) Changing(string) (func(error), func(what string)) {
	return func(error) {}, func(string) {}
}
func (silence) Note(string) {}
func (silence) Warn(string) {}

// Only what is not yet as asked for is switched, and the result lists it.
func TestPowerAndLink(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	s := &switchboard{fake: b.fakes["netns"], off: map[string]bool{}, down: map[string][]string{}}
	b.Providers[0].Provider = s
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	state, err := b.Root.Read(a)
	if err != nil {
		t.Fatal(err)
	}
	state.Artifacts.Self = "/proc/self/exe"
	if err := b.Root.Write(state); err != nil {
		t.Fatal(err)
	}
	power := func(to Power, names []string, want []Switched, asked ...string) {
		t.Helper()
		got, err := b.Power(ctx, a, names, to, silence{})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("power %s %v: %+v (%v), want %+v", to, names, got, err, want)
		}
		b.expect(t, "power "+string(to), asked...)
	}
	power(PowerOff, []string{"w1", "client", "w1"}, []Switched{{"w1", "", "off", true}, {"client", "", "off", true}}, "off w1", "off client")
	power(PowerOff, []string{"w1"}, []Switched{{"w1", "", "off", false}})
	status, err := b.Status(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status.Machines {
		if m.Running == (m.Name == "w1" || m.Name == "client") {
			t.Errorf("status: %+v", m)
		}
	}
	*b.asked = nil
	_, err = b.Link(ctx, a, []string{"w1"}, false)
	failsWith(t, err, "node w1 is off", "`netlab power on a w1` starts it")
	power(PowerOn, []string{"w1", "cp"}, []Switched{{"w1", "", "on", true}, {"cp", "", "on", false}}, "on w1")
	power(PowerCycle, []string{"w1", "client"}, []Switched{{"w1", "", "on", true}, {"client", "", "on", true}}, "off w1", "on w1", "on client")
	_, err = b.Power(ctx, a, []string{"w9"}, PowerOff, silence{})
	failsWith(t, err, `lab a has no machine "w9"`, "its machines are cp, ")

	link := func(up bool, ends []string, want []Switched, asked ...string) {
		t.Helper()
		got, err := b.Link(ctx, a, ends, up)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("link %t %v: %+v (%v), want %+v", up, ends, got, err, want)
		}
		b.expect(t, "link", asked...)
	}
	link(false, []string{"w1:eth0", "w1"}, []Switched{{"w1", "eth0", "down", true}}, "link w1 eth0")
	link(false, []string{"w1"}, []Switched{{"w1", "eth0", "down", false}})
	if status, err = b.Status(ctx, a); err != nil || !slices.ContainsFunc(status.Machines, func(m MachineStatus) bool { return m.Name == "w1" && slices.Equal(m.LinksDown, []string{"eth0"}) }) {
		t.Errorf("status: %+v (%v)", status, err)
	}
	*b.asked = nil
	link(true, []string{"w1:eth0", "cp"}, []Switched{{"w1", "eth0", "up", true}, {"cp", "eth0", "up", false}}, "link w1 eth0")
	_, err = b.Link(ctx, a, []string{"w1:eth9"}, false)
	failsWith(t, err, `machine w1 has no NIC "eth9"`, "its NICs are eth0")

	c := b.lab(t, "c", "netns", providers.PhaseStopped)
	_, err = b.Power(ctx, c, []string{"w1"}, PowerOff, silence{})
	failsWith(t, err, "lab c is stopped", "`netlab start c`")
	d := b.lab(t, "d", "kind", providers.PhaseUp)
	_, err = b.Power(ctx, d, []string{"w1"}, PowerOff, silence{})
	failsWith(t, err, "provider kind does not support switching single machines", "")
}
