package run

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// A route over a slow link is judged by what the link can carry, one over a late or lossy link by no
// figure, and routes past it by verify.throughput.min; the report says so.
func TestThroughputOverImpairedLinks(t *testing.T) {
	plan := measuringPlan(t, 1)
	plan.Verify.Throughput.Min = 500e6
	routes := []string{checks.RouteNodeToNode, checks.RoutePodSameNode, checks.RoutePodCrossNode, checks.RouteClusterIP, checks.RouteNodePort, checks.RouteLoadBalancer, checks.RouteIngress}
	server := observetest.Snapshot(plan, plantest.Flannel(), healthyLoads(plan)).Pods.Echo[0].Node
	for _, c := range []struct {
		name     string
		machine  string
		impair   labs.Impairment
		arrives  float64
		half     []string // routes that are judged by half of the rate
		unjudged []string
		fail     bool // those that are judged by half of the rate
		notice   string
	}{
		{"the server's link", server, labs.Impairment{Rate: 10e6}, 9e6,
			[]string{checks.RouteNodeToNode, checks.RoutePodCrossNode, checks.RouteClusterIP, checks.RouteNodePort, checks.RouteLoadBalancer}, nil, false, "the link of " + server + " eth0 is impaired: rate 10Mbit"},
		{"the server's link, slower than it is", server, labs.Impairment{Rate: 10e6}, 1e6,
			[]string{checks.RouteNodeToNode, checks.RoutePodCrossNode, checks.RouteClusterIP, checks.RouteNodePort, checks.RouteLoadBalancer}, nil, true, ""},
		{"the client's link", "client", labs.Impairment{Loss: 1000, Rate: 10e6}, 1e6, nil,
			[]string{checks.RouteNodePort, checks.RouteLoadBalancer, checks.RouteIngress}, false, "verify.throughput.min (500Mbit) does not apply to route loadbalancer: it crosses links with loss 1%, rate 10Mbit"},
		{"a link that is fast enough", server, labs.Impairment{Rate: 10e9}, 600e6, nil, nil, false, ""},
	} {
		w := observetest.Snapshot(plan, plantest.Flannel(), healthyLoads(plan))
		w.Impaired = topology.Impaired{}
		w.Impaired.Set(c.machine, "eth0", c.impair)
		meter := &fakeMeter{answer: func(l agent.Load, _ int) (agent.Loaded, error) {
			return agent.Loaded{Outcome: agent.Reply, BitsPerSecond: c.arrives, Bits: c.arrives}, nil
		}}
		rows := measurer{snapshot: w, on: meter, say: func(string) {}}.all(t.Context(), checks.Measurements(plan, plantest.Flannel(), routes, nil))
		for _, x := range rows {
			if x.Row.Protocol == agent.LoadUDP || x.Row.Skip != "" || x.Row.Route == checks.RouteIngress && c.machine == server {
				continue // the Ingress controller may be on any Node
			}
			half, judged := slices.Contains(c.half, x.Row.Route), !slices.Contains(c.unjudged, x.Row.Route)
			passes := !judged || c.arrives >= 500e6 || half && !c.fail
			if got := x.Finding; len(got.Properties) > 0 != judged || (got.Outcome == report.Pass) != passes {
				t.Errorf("%s: %s %s with %+v", c.name, x.Row.Way(), got.Outcome, got.Properties)
			} else if judged && half != strings.Contains(got.Properties[0].Expected, "at least 5.00 Mbit/s, half of the rate of the link of "+c.machine+" eth0") {
				t.Errorf("%s: %s is expected %q", c.name, x.Row.Way(), got.Properties[0].Expected)
			}
		}
		for _, asked := range meter.order {
			burst := strings.Contains(asked, " udp ") && !strings.Contains(asked, "blocks=0 ")
			crosses := map[bool]string{true: "client ", false: "netlab-verify/node-"}[c.machine == "client"]
			if burst && c.impair.Rate == 10e6 && strings.HasPrefix(asked, crosses) && !strings.Contains(asked, "blocks=863 ") {
				t.Errorf("%s: asked for %s", c.name, asked)
			}
		}
		if got := reportOf(w, rows, checks.Extent{}, "").Notices; c.notice != "" && !slices.Contains(got, c.notice) {
			t.Errorf("%s: notices %q", c.name, got)
		}
	}
}

// Probes of a lab with late links wait longer, those of others as long as they say.
func TestPatience(t *testing.T) {
	var asked agent.Asked
	mux := http.NewServeMux()
	mux.HandleFunc("/probe", func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&asked)
		json.NewEncoder(w).Encode(agent.Answered{Results: make([]agent.Result, len(asked.Probes))})
	})
	socket := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	plan := plantest.Plan(t, "quickstart")
	late := topology.Impaired{}
	late.Set("w1", "eth0", labs.Impairment{Delay: labs.Duration{Duration: 10 * time.Millisecond}})
	for _, c := range []struct {
		is   topology.Impaired
		want []int
	}{{nil, []int{0, 300}}, {late, []int{1320, 620}}} {
		a := newClient(providers.Running{Plan: plan, Machines: map[string]providers.Machine{"w1": hostMachine{}}, Impaired: c.is})
		probes := []agent.Probe{{Kind: agent.TCP}, {Kind: agent.TCP, TimeoutMillis: 300}}
		_, err := a.ask(t.Context(), observe.Station{Machine: "w1", Socket: socket}, probes)
		a.close()
		if err != nil || len(asked.Probes) != 2 || asked.Probes[0].TimeoutMillis != c.want[0] || asked.Probes[1].TimeoutMillis != c.want[1] || probes[0].TimeoutMillis != 0 {
			t.Errorf("%v: asked %+v (%v), want %v", c.is, asked.Probes, err, c.want)
		}
	}
}
