package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

const nameOfShop = "nlt-shop"

// TestShop makes the ready shop with the user's manifests and paths, and changes it: what the file
// does not have any more goes, what was edited by hand comes back, and what others made stays.
func TestShop(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	if err := os.CopyFS(filepath.Join(l.dir, "shop"), os.DirFS("../scenarios/shop")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../scenarios/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := l.lab(t, nameOfShop, replaced(t, string(data), "metadata: {name: shop}\n", ""))
	var r report.Report
	if err := json.Unmarshal([]byte(b.run(t, 0, "up", b.file, "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	checkPasses(t, r)
	mine := 0
	for _, p := range r.Paths {
		if p.ID == checks.Mine {
			mine++
		}
	}
	if mine < 8 {
		t.Errorf("%d paths of the user's, want those of two frontends and of two backends", mine)
	}
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up did something: %s", out)
	}
	b.kubectl(t, "exec", "-n", "shop", "deploy/frontend", "--", "sh", "-ec", "curl -sf http://nginx >/dev/null && dig +short nginx.shop.svc.cluster.local | grep . && ping -c1 -W1 127.0.0.1 && nc -h 2>&1 | head -1 && tcpdump --version 2>&1 | head -1 && iperf3 --version | head -1")

	// The file loses the visitor and gains what no source has an image for.
	if err := os.Remove(filepath.Join(l.dir, "shop/visitor.yaml")); err != nil {
		t.Fatal(err)
	}
	added := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: shop}\nspec:\n  selector: {matchLabels: {app: app}}\n  template:\n    metadata: {labels: {app: app}}\n    spec:\n      containers: [{name: app, image: \"example.test/app:1\"}]\n"
	if err := os.WriteFile(filepath.Join(l.dir, "shop/app.yaml"), []byte(added), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "create", "configmap", "-n", "shop", "theirs")
	b.kubectl(t, "scale", "-n", "shop", "deployment/frontend", "--replicas=1")
	planned, notes := b.output(t, 0, "plan", b.file)
	for _, line := range []string{"manifests: apply Deployment shop/app", "manifests: delete Deployment shop/visitor", "Deployment shop/nginx"} {
		if !strings.Contains(planned, line) {
			t.Errorf("the plan does not say %q:\n%s", line, planned)
		}
	}
	if want := "image example.test/app:1 of Deployment shop/app is in no source; load it with `netlab load " + nameOfShop; !strings.Contains(notes, want) {
		t.Errorf("the plan does not note %q:\n%s", want, notes)
	}
	b.run(t, 0, "up", "--no-verify", b.file)
	got := b.kubectl(t, "get", "deployments,configmaps", "-n", "shop", "-o", "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.spec.replicas} {end}")
	for _, want := range []string{"Deployment/app=", "Deployment/frontend=2", "Deployment/nginx=2", "ConfigMap/theirs="} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "visitor") {
		t.Errorf("the visitor is still there: %s", got)
	}

	// Without manifests all that netlab applied goes, but for the Namespace and what is the user's.
	text, _, _ := strings.Cut(b.text, "manifests:")
	b.write(t, text)
	b.run(t, 0, "up", "--no-verify", b.file)
	got = b.kubectl(t, "get", "deployments,services,configmaps,networkpolicies,ingresses", "-n", "shop", "-o", "jsonpath={range .items[*]}{.kind}/{.metadata.name} {end}")
	if strings.TrimSpace(strings.ReplaceAll(got, "ConfigMap/kube-root-ca.crt", "")) != "ConfigMap/theirs" {
		t.Errorf("left are %s, want the user's ConfigMap alone", got)
	}
	b.remove(t)
	b.clean(t)
}
