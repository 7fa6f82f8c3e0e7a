package checks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/workload"
)

// ids are PATHS.md's, but for throughput and latency.
func ids() []string {
	return append([]string{ContainerToContainer, PodToPodSameNode, PodToPodCrossNode, NodeToPod, PodToNode, PodToClusterIP, PodHairpin,
		PodToHeadless, DNSService, DNSExternal, PodToNodePort, OutsideToNodePort, OutsideToLoadBalancer, OutsideToIngressHTTP,
		OutsideToIngressHTTPS, PodToExternalName, PodToOutside, OutsideToClusterIP, OutsideToPod, PolicyL7}, workload.PolicyIDs()...)
}

func TestPathsGolden(t *testing.T) {
	rows := []struct {
		scenario string
		support  components.Support
		golden   string
	}{
		{"quickstart", plantest.Flannel(), "paths-quickstart.txt"},
		{"quickstart", plantest.Enforcing(), "paths-enforcing.txt"},
		{"single-node", plantest.Flannel(), "paths-single-node.txt"},
		{"no-lb", plantest.Flannel(), "paths-no-lb.txt"},
		{"nodeport", plantest.Flannel(), "paths-nodeport.txt"},
		{"routed-client", plantest.Flannel(), "paths-routed-client.txt"},
	}
	for _, r := range rows {
		t.Run(r.golden, func(t *testing.T) {
			paths := Rows(plantest.Plan(t, r.scenario), r.support)
			var b strings.Builder
			seen := map[string]bool{}
			unique := map[string]bool{}
			for _, p := range paths {
				seen[p.ID] = true
				line := fmt.Sprintf("%-25s %-22s %-40s %-5s %s", p.ID, p.From.Name, p.To.Name+at(p.To), p.Protocol, p.Expected)
				if p.Skip != "" {
					line += "  SKIP " + p.Skip
				}
				if unique[line] {
					t.Errorf("twice: %s", line)
				}
				unique[line] = true
				b.WriteString(strings.TrimRight(line, " ") + "\n")
			}
			for _, id := range ids() {
				if !seen[id] {
					t.Errorf("no path %s, not even as a skip", id)
				}
			}
			plantest.Golden(t, r.golden, b.String())
		})
	}
}

func at(r observe.Ref) string {
	if r.Node == "" || r.Node == r.Name {
		return ""
	}
	return " on " + r.Node
}

// TestSectionsShowAll: a path that the text report has no section for would be invisible.
func TestSectionsShowAll(t *testing.T) {
	var shown []string
	for _, s := range Sections() {
		shown = append(shown, s.IDs...)
	}
	for _, id := range ids() {
		if !slices.Contains(shown, id) {
			t.Errorf("%s is in no section", id)
		}
	}
}

// TestPods: the Pods on which paths depend being independent of each other.
func TestPods(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "small-network"} {
		plan := plantest.Plan(t, scenario)
		c := workload.PodsOf(plan)
		if len(c.Echo) < 2 {
			t.Errorf("%s: %d echo Pods; two backends need two", scenario, len(c.Echo))
		}
		names := map[string]bool{}
		for _, p := range c.All() {
			if names[p.Name] {
				t.Errorf("%s: two Pods %s", scenario, p.Name)
			}
			names[p.Name] = true
			if len(workload.Socket(p.Namespace, p.Name)) > 107 {
				t.Errorf("socket path of %s is longer than a socket address", p.Name)
			}
		}
		for _, n := range plan.Nodes() {
			a, b := c.EchoOn(n.Name), c.SecondOn(n.Name)
			if a.Name == b.Name || a.Node != b.Node {
				t.Errorf("%s: Node %s has no second Pod: %s and %s", scenario, n.Name, a.Name, b.Name)
			}
		}
		for _, id := range workload.PolicyIDs() {
			play := ScenarioOf(id, c)
			selected := 0
			for _, p := range c.All() {
				match := p.Namespace == play.Policy.Namespace
				for k, v := range play.Policy.Spec.PodSelector.MatchLabels {
					match = match && p.Labels[k] == v
				}
				if match {
					selected++
					if p.Name != id {
						t.Errorf("%s selects %s, which other paths need", id, p.Name)
					}
				}
			}
			if selected != 1 {
				t.Errorf("%s selects %d Pods, want 1", id, selected)
			}
			if play.Denied == play.Allowed {
				t.Errorf("%s denies what it allows", id)
			}
		}
	}
}
