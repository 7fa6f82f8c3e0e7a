package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	speclabs "netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/verifytest"
	"netlab.dev/netlab/verify/workload"
)

// cniLab is the expected outcome of a ready lab's policies, and how it handles packets.
type cniLab struct {
	policies string
	way      verifytest.Way
}

// cniLabOf derives from what a ready lab's CNI supports what its policies come to, and how its
// packets go. Adding a CNI adds nothing here.
func cniLabOf(t *testing.T, catalog components.Catalog, scenario string) (want cniLab, cni string) {
	t.Helper()
	file := "../scenarios/" + scenario + ".yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known := catalog.Known()
	known.Providers = []string{"netns"}
	plan, err := topology.Load(file, data, known)
	if err != nil {
		t.Fatal(err)
	}
	set, err := catalog.Resolve(plan)
	if err != nil {
		t.Fatal(err)
	}
	s := set.Support(components.Artifacts{})
	want = cniLab{report.NotEnforced, verifytest.Way{Encapsulated: s.Encapsulation.Kind != "", Inside: "kube-proxy", Outside: "kube-proxy"}}
	if s.NetworkPolicy {
		want.policies = report.Enforced
	}
	if s.ReplacesProxy {
		want.way.Outside = "CNI"
	}
	if s.ReplacesProxy || s.ServesPods {
		want.way.Inside = "CNI"
	}
	return want, plan.CNI.Name
}

// TestCNIMatrix: cni-matrix.yaml has a lab of every CNI.
func TestCNIMatrix(t *testing.T) {
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, scenario := range append(matrix(t), "quickstart") {
		_, cni := cniLabOf(t, catalog, scenario)
		tried[cni] = true
	}
	for cni := range catalog.Known().CNIs {
		if !tried[cni] {
			t.Errorf("cni-matrix.yaml has no lab of %s", cni)
		}
	}
}

// nameOfCNI is the one name of these labs, made one after the other.
const nameOfCNI = "nlt-cni"

// briefly is how long the tests' labs measure.
const briefly = "verify: {throughput: {duration: 1s, streams: [2], repeats: 1}}\n"

// measures: evidence of every path, and a few measurements, in one run.
func (b *lab) measures(t *testing.T, way verifytest.Way) {
	t.Helper()
	var r report.Report
	out := b.run(t, 0, "verify", b.name, "-o", "json", "--evidence", "--throughput="+checks.RoutePodCrossNode, "--latency="+checks.RouteClusterIP)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	verifytest.Evidence(t, r, way)
	verifytest.Measured(t, r, checks.RoutePodCrossNode, checks.RouteClusterIP)
}

// madeInPlace is the lab that the previous one, Calico with BGP, is changed into.
const madeInPlace = "cilium-vxlan"

// TestCNIs makes each lab of a CNI and mode, and sees every path pass, policies enforced
// where they are, the machine untouched and nothing left behind, eBPF included. One is
// created from the previous one, of whose CNI nothing may be left.
func TestCNIs(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	scenarios := matrix(t)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	b := l.lab(t, nameOfCNI, "")
	changed := false // the lab before still runs
	for i, scenario := range scenarios {
		want, _ := cniLabOf(t, catalog, scenario)
		t.Run(scenario, func(t *testing.T) {
			data, err := os.ReadFile("../scenarios/" + scenario + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					b.remove(t)
					changed = false
				}
			}()
			b.write(t, replaced(t, string(data), "metadata: {name: "+scenario+"}\n", "")+briefly)
			out, progress := b.output(t, 0, "up", "--remake", b.file, "-o", "json")
			t.Logf("up:\n%s", progress)
			if recreated := strings.Contains(progress, "recreate the cluster: cni.name changes from "); recreated != changed {
				t.Errorf("up reports that it recreates the cluster: %t, want %t", recreated, changed)
			}
			if changed {
				if left := b.ofCalico(t); left != "" {
					t.Errorf("of Calico there is left:\n%s", left)
				}
			}
			var r report.Report
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			checkPasses(t, r)
			policies := 0
			for _, p := range r.Paths {
				if p.Expected != report.Enforced && p.Expected != report.NotEnforced {
					continue
				}
				policies++
				if !ofSomeLabs(p.ID) && p.Expected != want.policies {
					t.Errorf("%s: expected %s, want %s", p.ID, p.Expected, want.policies)
				}
			}
			if policies < 6 {
				t.Errorf("%d paths of policies, want six at least", policies)
			}
			b.untouched(t)
			t.Run("evidence", func(t *testing.T) { b.measures(t, want.way) })
			t.Run("the user's own", func(t *testing.T) { b.ownPaths(t, want.policies) })
			if strings.HasPrefix(scenario, "cilium-") {
				t.Run("CiliumNetworkPolicy", b.ciliumPolicy)
			}
			if changed = i+1 < len(scenarios) && scenarios[i+1] == madeInPlace; changed {
				if b.ofCalico(t) == "" {
					t.Error("there is nothing of Calico that could be left")
				}
				return
			}
			b.run(t, 0, "down", b.name)
			b.clean(t)
		})
	}
}

// ofCalico lists Calico's objects on a Node and in the cluster.
func (b *lab) ofCalico(t *testing.T) string {
	t.Helper()
	all := b.exec(t, "w1", "ip -br link; ip route; iptables-save; iptables-legacy-save; ls /etc/cni/net.d /opt/cni/bin /var/log") +
		b.kubectl(t, "get", "crd,pods,configmaps", "-A", "-o", "name")
	var found []string
	for line := range strings.Lines(all) {
		if strings.Contains(line, "cali") || strings.Contains(line, "proto bird") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// matrix names the labs of cni-matrix.yaml, without quickstart.
func matrix(t *testing.T) []string {
	const file = "../scenarios/cni-matrix.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files, err := speclabs.LoadMatrix(file, data)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); name != "quickstart" {
			names = append(names, name)
		}
	}
	return names
}

// ciliumPolicy is of layers 3 and 4: one port, for one label.
const ciliumPolicy = `{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
"metadata": {"name": "one-port", "namespace": "netlab-verify"},
"spec": {"endpointSelector": {"matchLabels": {"netlab.dev/policy": "policy-default-deny"}},
"ingress": [{"fromEndpoints": [{"matchLabels": {"app": "frontend"}}],
"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}]}}`

func (b *lab) ciliumPolicy(t *testing.T) {
	ip := b.kubectl(t, "get", "pod", "-n", workload.Namespace, "policy-default-deny", "-o", "jsonpath={.status.podIP}")
	probes := []struct {
		from, kind, target string
		allowed            bool
	}{
		{"echo-w1", agent.HTTP, "http://" + ip + ":8080/", true}, // labelled app=frontend
		{"echo-w1", agent.TCP, ip + ":8081", false},
		{"echo-cp", agent.HTTP, "http://" + ip + ":8080/", false},
	}
	// A policy takes a moment to come and to go.
	replies := func(from, kind, target string, want bool) {
		t.Helper()
		var got agent.Result
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
			cmd := b.command("kubectl", b.name, "--", "exec", "-n", workload.Namespace, from, "-c", "agent", "--",
				"/usr/local/bin/netlab", "agent", "probe", kind, target)
			out, err := cmd.Output()
			if jsonErr := json.Unmarshal(out, &got); jsonErr != nil {
				t.Fatalf("%v: %v, %v\n%s", cmd.Args, err, jsonErr, out)
			}
			if (got.Outcome == agent.Reply) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%s → %s: %s, want a reply: %t", from, target, got.Outcome, want)
				return
			}
		}
	}
	for _, p := range probes {
		replies(p.from, p.kind, p.target, true)
	}
	file := b.file + ".policy.json"
	if err := os.WriteFile(file, []byte(ciliumPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "apply", "-f", file)
	for _, p := range probes {
		replies(p.from, p.kind, p.target, p.allowed)
	}
	b.kubectl(t, "delete", "-f", file)
	for _, p := range probes {
		replies(p.from, p.kind, p.target, true)
	}
}
