package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
)

// ids are PATHS.md's, but for throughput and latency.
func ids() []string {
	return append([]string{ContainerToContainer, PodToPodSameNode, PodToPodCrossNode, NodeToPod, PodToNode, PodToClusterIP, PodToItself,
		PodToHeadless, DNSService, DNSExternal, PodToNodePort, OutsideToNodePort, OutsideToLoadBalancer, OutsideToIngressHTTP,
		OutsideToIngressHTTPS, PodToExternalName, PodToOutside, OutsideToClusterIP, OutsideToPod, PolicyL7}, policyIDs()...)
}

func TestPathsGolden(t *testing.T) {
	rows := []struct {
		scenario string
		support  components.Support
		golden   string
	}{
		{"quickstart", flannel(), "paths-quickstart.txt"},
		{"quickstart", enforcing(), "paths-enforcing.txt"},
		{"single-node", flannel(), "paths-single-node.txt"},
		{"no-lb", flannel(), "paths-no-lb.txt"},
		{"nodeport", flannel(), "paths-nodeport.txt"},
		{"routed-client", flannel(), "paths-routed-client.txt"},
	}
	for _, r := range rows {
		t.Run(r.golden, func(t *testing.T) {
			paths := Paths(planOf(t, r.scenario), r.support)
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
			golden(t, r.golden, b.String())
		})
	}
}

func at(r Ref) string {
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

// TestCast: the Pods on which paths depend being independent of each other.
func TestCast(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "small-network"} {
		plan := planOf(t, scenario)
		c := castOf(plan)
		if len(c.Echo) < 2 {
			t.Errorf("%s: %d echo Pods; two backends need two", scenario, len(c.Echo))
		}
		names := map[string]bool{}
		for _, p := range c.all() {
			if names[p.Name] {
				t.Errorf("%s: two Pods %s", scenario, p.Name)
			}
			names[p.Name] = true
			if len(Socket(p.Namespace, p.Name)) > 107 {
				t.Errorf("socket path of %s is longer than a socket address", p.Name)
			}
		}
		for _, n := range plan.Nodes() {
			a, b := c.echoOn(n.Name), c.secondOn(n.Name)
			if a.Name == b.Name || a.Node != b.Node {
				t.Errorf("%s: Node %s has no second Pod: %s and %s", scenario, n.Name, a.Name, b.Name)
			}
		}
		for _, id := range policyIDs() {
			play := policyOf(id, c)
			selected := 0
			for _, p := range c.all() {
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
