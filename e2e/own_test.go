package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// shop is a user's application: web, which only frontend may ask, and a visitor. What it runs is
// netlab's agent, under other names and ports.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "netlab.dev/agent:self", args: [serve, --name, web, --http, "8080", --tcp, "0", --udp, "5514"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec:
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: idle, image: "netlab.dev/agent:self", args: [serve, --http, "0", --tcp, "0", --udp, "0"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: visitor, namespace: shop, labels: {app: visitor}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: idle, image: "netlab.dev/agent:self", args: [serve, --http, "0", --tcp, "0", --udp, "0"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: syslog, port: 514, targetPort: 5514, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-frontend, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: frontend}}}]}]
`

// shopPaths are expectations of it where policies are enforced: the last one is wrong on purpose.
const shopPaths = `verify:
  paths:
  - {from: shop/frontend, to: shop/web:80, protocol: http, source: preserved}
  - {from: shop/frontend, to: shop/web:514, protocol: udp}
  - {from: deployment/shop/frontend, to: deployment/shop/web:8080}
  - {from: shop/frontend, to: shop/web, protocol: dns}
  - {from: shop/frontend, to: nosuch.shop, protocol: dns, expect: NXDOMAIN}
  - {from: shop/frontend, to: internet:8080, protocol: http, source: node}
  - {from: shop/visitor, to: shop/web:80, protocol: http, expect: denied}
  - {from: shop/visitor, to: shop/web:514, protocol: udp, expect: denied}
  - {from: shop/visitor, to: shop/web:80, protocol: http, within: 500ms}
`

// ownPaths verifies paths of a user's own workloads, whose images hold no tool that netlab needs, and
// sees what is suggested for them.
func (b *lab) ownPaths(t *testing.T, policies string) {
	manifest := filepath.Join(b.dir, "shop.yaml")
	image := b.kubectl(t, "get", "pods", "-n", "netlab-verify", "-o", "jsonpath={.items[0].spec.containers[0].image}")
	if err := os.WriteFile(manifest, []byte(strings.ReplaceAll(shop, "netlab.dev/agent:self", image)), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	lab, _, _ := strings.Cut(string(before), "verify:")
	if err := os.WriteFile(b.file, []byte(lab+shopPaths), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "apply", "-f", manifest)
	b.kubectl(t, "wait", "-n", "shop", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	defer func() {
		b.kubectl(t, "delete", "namespace", "shop")
		if err := os.WriteFile(b.file, before, 0o644); err != nil {
			t.Fatal(err)
		}
	}()
	var r report.Report
	if err := json.Unmarshal([]byte(b.run(t, 1, "verify", b.name, "--paths", checks.Mine, "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	enforced := policies == report.Enforced
	wrong := map[int]bool{6: !enforced, 7: !enforced, 8: enforced}
	if len(r.Paths) != 9 {
		t.Fatalf("%d paths, want 9", len(r.Paths))
	}
	for i, p := range r.Paths {
		want := report.Pass
		if wrong[i] {
			want = report.Fail
		}
		if p.Outcome != want || p.ID != checks.Mine {
			t.Errorf("path %d is %s, want %s: %s", i, p.Outcome, want, describe(p))
		}
	}
	if p := r.Paths[8]; enforced && (!strings.Contains(p.Reason, "NetworkPolicy shop/allow-frontend") || p.Evidence == nil || len(p.Evidence.Hops) == 0) {
		t.Errorf("a path that a policy denies is not explained by it, with evidence: %s", describe(p))
	}
	if p := r.Paths[6]; enforced && len(p.Properties) < 3 {
		t.Errorf("a deny without its controls: %+v", p.Properties)
	}
	out := b.run(t, 0, "verify", b.name, "--suggest")
	seen := map[bool]string{true: "denied", false: "reachable"}[enforced]
	for _, line := range []string{
		"- {from: shop/frontend, to: shop/web:80, protocol: http, expect: reachable}", "- {from: shop/frontend, to: shop/web:514, protocol: udp, expect: reachable}",
		"- {from: shop/visitor, to: shop/web:80, protocol: http, expect: " + seen + "}", "- {from: shop/visitor, to: shop/web:514, protocol: udp, expect: " + seen + "}",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not suggested:\n%s", line, out)
		}
	}
	if err := os.WriteFile(b.file, []byte(lab+out), 0o644); err != nil {
		t.Fatal(err)
	}
	b.run(t, 0, "verify", b.name, "--paths", checks.Mine)
}
