package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// nameCloud is a lab of scenarios/csp.yaml.
const nameCloud = "nlt-cloud"

// servicesOfCloud are one that answers over TCP and UDP for the clients of one network, one without a NodePort, and one of a
// class that nobody owns.
const servicesOfCloud = `apiVersion: v1
kind: Service
metadata: {name: both, namespace: kube-system}
spec:
  type: LoadBalancer
  loadBalancerClass: netlab.dev/cloud
  loadBalancerSourceRanges: [203.0.113.0/24]
  selector: {k8s-app: kube-dns}
  ports:
    - {name: tcp, port: 53, protocol: TCP}
    - {name: udp, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: portless, namespace: kube-system}
spec:
  type: LoadBalancer
  allocateLoadBalancerNodePorts: false
  selector: {k8s-app: kube-dns}
  ports: [{port: 53}]
---
apiVersion: v1
kind: Service
metadata: {name: foreign, namespace: kube-system}
spec:
  type: LoadBalancer
  loadBalancerClass: example.com/other
  selector: {k8s-app: kube-dns}
  ports: [{port: 53}]
`

// TestCloud: the provider's side gives Services of type LoadBalancer VIPs, forwards to the Nodes that are healthy, and
// goes on while its controller is away. Only ` + "`make test-all`" + ` runs it.
func TestCloud(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	data, err := os.ReadFile("../scenarios/csp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := l.lab(t, nameCloud, replaced(t, string(data), "metadata: {name: csp}\n", ""))
	b.run(t, 0, "up", b.file)
	r := b.verify(t, 0)
	checkPasses(t, r)
	for _, p := range r.Paths {
		if p.ID == checks.OutsideToLoadBalancer && p.Property(report.KeyHealthy) == "" {
			t.Errorf("%s: the load balancer was not asked", describe(p))
		}
	}
	t.Run("services", b.servicesOfCloud)
	t.Run("a Node is off", func(t *testing.T) {
		began := time.Now()
		b.run(t, 0, "power", "off", b.name, "w2")
		b.soon(t, func() bool { return !slices.Contains(b.healthy(t, "ingress-nginx/ingress-nginx-controller"), "w2") })
		t.Logf("out %s after the command", time.Since(began).Round(10*time.Millisecond))
		b.run(t, 0, "up", b.file)
		b.soon(t, func() bool { return slices.Contains(b.healthy(t, "ingress-nginx/ingress-nginx-controller"), "w2") })
	})
	t.Run("no controller", func(t *testing.T) {
		b.exec(t, "cloud", "pkill -STOP -f '[n]etlab cloud-controller'")
		b.passes(t)
		b.exec(t, "cloud", "pkill -KILL -f '[n]etlab cloud-controller'")
		b.kubectl(t, "create", "service", "loadbalancer", "-n", "kube-system", "later", "--tcp=80")
		b.soon(t, func() bool { return b.vipOf(t, "later") != "" })
	})
	t.Run("the cloud is off", func(t *testing.T) {
		b.run(t, 0, "power", "off", b.name, "cloud")
		failed := false
		for _, p := range b.verify(t, 1).Paths {
			if p.ID == checks.OutsideToLoadBalancer {
				failed = failed || p.Outcome == report.Fail && strings.Contains(p.Reason, "cloud is off")
			}
		}
		if !failed {
			t.Error("no path fails because the cloud is off")
		}
		b.run(t, 0, "up", b.file)
		b.passes(t)
	})
}

// servicesOfCloud applies Services, looks at what they get, and deletes them.
func (b *lab) servicesOfCloud(t *testing.T) {
	file := b.file + ".services"
	if err := os.WriteFile(file, []byte(servicesOfCloud), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "apply", "-f", file)
	b.soon(t, func() bool { return b.vipOf(t, "both") != "" })
	vip := b.vipOf(t, "both")
	b.soon(t, func() bool {
		return strings.Contains(b.kubectl(t, "get", "events", "-n", "kube-system", "--field-selector", "involvedObject.name=portless,reason=SyncLoadBalancerFailed", "-o", "jsonpath={.items[*].message}"), "has no NodePort")
	})
	if b.vipOf(t, "portless")+b.vipOf(t, "foreign") != "" {
		t.Error("a Service without NodePorts, or of another class, has a VIP")
	}
	if got := b.kubectl(t, "get", "service", "-n", "kube-system", "foreign", "-o", "jsonpath={.metadata.finalizers}"); got != "" {
		t.Errorf("a Service of another class has finalizers %s", got)
	}
	for _, protocol := range []string{"-t", "-u"} { // TCP, UDP
		b.exec(t, "client", fmt.Sprintf("drill %s @%s kubernetes.default.svc.cluster.local | grep -q 10.96.0.1", protocol, vip))
	}
	if out := b.exec(t, "office", fmt.Sprintf("timeout 3 drill -u @%s kubernetes.default.svc.cluster.local || echo none", vip)); strings.Contains(out, "10.96.0.1") {
		t.Errorf("a client outside loadBalancerSourceRanges is answered:\n%s", out)
	}
	b.kubectl(t, "delete", "-f", file)
	if out := b.exec(t, "cloud", "ip -4 address show dev eth0"); strings.Contains(out, vip+"/32") {
		t.Errorf("the VIP of a Service that is gone:\n%s", out)
	}
}

// vipOf is the VIP of a Service of namespace kube-system, "" for none.
func (b *lab) vipOf(t *testing.T, service string) string {
	t.Helper()
	return b.kubectl(t, "get", "service", "-n", "kube-system", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
}

// healthy are the Nodes that the cloud's load balancer forwards the first port of a Service to, as status has it.
func (b *lab) healthy(t *testing.T, service string) []string {
	t.Helper()
	out, _ := b.command("status", b.name, "-o", "json").Output() // a machine that is off is a problem
	var status struct {
		LoadBalancers []struct {
			Service string
			Healthy []string
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	for _, s := range status.LoadBalancers {
		if s.Service == service {
			return s.Healthy
		}
	}
	t.Fatalf("status has no load balancer of %s:\n%s", service, out)
	return nil
}
