package topology_test

import (
	"slices"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

// slow is a lab whose Nodes have a late link each on lan, and whose router leads to a slow wan.
const slow = `apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: slow}
networks:
- {name: lan, cidr: 172.30.0.0/24, impair: {delay: 5ms, jitter: 1ms}}
- {name: wan, cidr: 203.0.113.0/24, impair: {rate: 10Mbit}}
`

func slowPlan(t *testing.T) topology.Plan {
	t.Helper()
	plan, err := topology.Load("slow.yaml", []byte(slow), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestImpairedLines(t *testing.T) {
	plan := slowPlan(t)
	planned := []string{"each link of network lan is impaired: delay 5ms, jitter 1ms", "each link of network wan is impaired: rate 10Mbit"}
	is := plan.Impaired()
	if got := is.Lines(plan, nil); !slices.Equal(got, planned) {
		t.Errorf("as planned: %q", got)
	}
	is["w1"]["eth0"] = labs.Impairment{Loss: 1000}
	delete(is, "w2")
	delete(is, "internet")
	want := []string{planned[0], "the link of w1 eth0 is impaired: loss 1%", planned[1], "the link of internet eth0 is not impaired"}
	if got := is.Lines(plan, []string{"w2"}); !slices.Equal(got, want) {
		t.Errorf("otherwise: %q, want %q", got, want)
	}
	if got := (topology.Impaired)(nil).Lines(topology.Plan{Networks: plan.Networks[:0]}, nil); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}

// A packet to the internet and its reply cross both links of the router; a VIP's those of the Nodes that
// may receive it.
func TestLinksCrossed(t *testing.T) {
	plan := slowPlan(t)
	internet, _ := plan.Machine("internet")
	links := topology.Reach(plan, "w1", internet.Address()).Links(plan, func(string) bool { return true })
	for _, l := range []topology.Link{{"w1", "eth0"}, {"router", "eth0"}, {"router", "eth1"}, {"internet", "eth0"}} {
		if !slices.Contains(links, l) {
			t.Errorf("%s is not in %v", l, links)
		}
	}
	worst, slowest := plan.Impaired().Worst(links)
	if worst.String() != "delay 5ms, jitter 1ms, rate 10Mbit" || slowest.NIC == "" || len(links) != 4 {
		t.Errorf("%s, %s of %v", worst, slowest, links)
	}
	vip := plan.LoadBalancer.Pools[0].First
	links = topology.Reach(plan, "client", vip).Links(plan, func(name string) bool { return name == "w2" })
	if want := []topology.Link{{"client", "eth0"}, {"w2", "eth0"}}; !slices.Equal(links, want) && !slices.Equal(links, []topology.Link{want[1], want[0]}) {
		t.Errorf("to a VIP: %v", links)
	}
	if worst, _ := (topology.Impaired{}).Worst(links); !worst.None() {
		t.Errorf("links that are not impaired: %s", worst)
	}
}

func TestSlack(t *testing.T) {
	plan := slowPlan(t)
	is := topology.Impaired{}
	if got := is.Slack(plan); got != 0 {
		t.Errorf("without impairments: %s", got)
	}
	is.Set("w1", "eth0", labs.Impairment{Delay: labs.Duration{Duration: 10 * time.Millisecond}})
	if got := is.Slack(plan); got != 320*time.Millisecond {
		t.Errorf("with a delay: %s", got)
	}
	is.Set("w2", "eth0", labs.Impairment{Loss: 1})
	if got := is.Slack(plan); got != 1320*time.Millisecond {
		t.Errorf("with loss: %s", got)
	}
	is = topology.Impaired{}
	is.Set("internet", "eth0", labs.Impairment{Rate: 64e3}) // 64 frames of 1514 bytes, there and back
	if got := is.Slack(plan).Round(time.Millisecond); got != 24224*time.Millisecond {
		t.Errorf("with a rate: %s", got)
	}
}

// An edited impairment is a change of the networks, which makes no machine anew.
func TestImpairChanges(t *testing.T) {
	runs, wanted := slowPlan(t), slowPlan(t)
	wanted.Networks[0].Impair = labs.Impairment{}
	if got := topology.Compare(runs, wanted).Lines(); !slices.Equal(got, []string{"configure networks"}) {
		t.Errorf("%q", got)
	}
}
