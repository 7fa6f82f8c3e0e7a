package engine

import (
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Links are as impaired as asked for, the result says which were so before, and status shows them.
func TestImpair(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	s := &switchboard{fake: b.fakes["netns"], off: map[string]bool{"client": true}, down: map[string][]string{}, worse: topology.Impaired{}}
	b.Providers[0].Provider = s
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	slow := labs.Impairment{Rate: 10e6}
	impair := func(i labs.Impairment, ends []string, want []ImpairedLink, asked ...string) {
		t.Helper()
		got, err := b.Impair(ctx, a, ends, i)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("impair %v: %+v (%v), want %+v", ends, got, err, want)
		}
		b.expect(t, "impair", asked...)
	}
	impair(slow, []string{"w1:eth0", "w1"}, []ImpairedLink{{"w1", "eth0", slow, true}}, "impair w1 eth0: rate 10Mbit")
	impair(slow, []string{"w1", "w2"}, []ImpairedLink{{"w1", "eth0", slow, false}, {"w2", "eth0", slow, true}}, "impair w1 eth0: rate 10Mbit", "impair w2 eth0: rate 10Mbit")
	status, err := b.Status(ctx, a)
	if err != nil || !slices.ContainsFunc(status.Machines, func(m MachineStatus) bool { return m.Name == "w1" && m.Impaired["eth0"] == slow }) {
		t.Errorf("status: %+v (%v)", status, err)
	}
	*b.asked = nil
	impair(labs.Impairment{}, []string{"w1"}, []ImpairedLink{{"w1", "eth0", labs.Impairment{}, true}}, "impair w1 eth0: none")
	_, err = b.Impair(ctx, a, []string{"client"}, slow)
	failsWith(t, err, "host client is off", "`netlab power on a client` starts it")
	_, err = b.Impair(ctx, a, []string{"w1:eth7"}, slow)
	failsWith(t, err, `machine w1 has no NIC "eth7"`, "its NICs are eth0")
	c := b.lab(t, "c", "netns", providers.PhaseStopped)
	_, err = b.Impair(ctx, c, []string{"w1"}, slow)
	failsWith(t, err, "lab c is stopped", "`netlab start c`")
}
