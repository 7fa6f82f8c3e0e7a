package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// three control planes and nothing that the test does without.
const three = `apiVersion: netlab/v1alpha1
kind: Lab
nodes: [{name: cp, role: control-plane, count: 3}]
loadBalancer: {name: none}
ingress: {name: none}
`

// later is created after a control plane has failed, and runs on another one.
const later = `apiVersion: apps/v1
kind: Deployment
metadata: {name: later}
spec:
  selector: {matchLabels: {app: later}}
  template:
    metadata: {labels: {app: later}}
    spec:
      nodeSelector: {kubernetes.io/hostname: cp2}
      containers: [{name: pause, image: "registry.k8s.io/pause:3.10.2"}]
`

// highlyAvailable: of three control planes the first one stops as a machine without power
// does, and the API server, controllers, scheduler and Services continue; `up` repairs it.
func (l *labs) highlyAvailable(t *testing.T) {
	b := l.lab(t, "nlt-ha", three)
	b.up(t)
	b.passes(t)
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}
	if out := b.kubectl(t, "-n", "kube-system", "get", "pods", "-l", "component=etcd", "-o", "jsonpath={.items[*].status.containerStatuses[0].ready}"); out != "true true true" {
		t.Errorf("etcd's members are ready: %q", out)
	}
	b.balancerEnds(t)

	boots := b.boots(t, "cp2", "cp3")
	data, err := os.ReadFile(b.path("nodes", "cp1", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(atoi(t, string(data)), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	until(t, "the API server answers again", func() bool {
		return b.command("kubectl", b.name, "--", "--request-timeout=5s", "get", "nodes").Run() == nil
	})
	t.Logf("the API server answers %s after the end of cp1", time.Since(began).Round(time.Millisecond))
	if out := b.run(t, 1, "status", b.name); !strings.Contains(out, "node cp1 is off") {
		t.Errorf("status does not report it:\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "later.yaml")
	if err := os.WriteFile(file, []byte(later), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "apply", "-f", file)
	b.kubectl(t, "rollout", "status", "deployment/later", "--timeout=120s")
	t.Logf("a Deployment is rolled out %s after the end of cp1", time.Since(began).Round(time.Millisecond))
	port := strings.TrimSpace(b.kubectl(t, "-n", "netlab-verify", "get", "service", "echo-nodeport", "-o", "jsonpath={.spec.ports[0].nodePort}"))
	until(t, "the Service answers the client", func() bool {
		return b.command("exec", b.name, "client", "--", "netlab", "agent", "probe", "http", "http://172.30.0.11:"+port+"/").Run() == nil
	})
	t.Logf("a Service answers %s after the end of cp1", time.Since(began).Round(time.Millisecond))

	b.up(t)
	b.run(t, 0, "status", b.name)
	if is := b.boots(t, "cp2", "cp3"); !maps.Equal(boots, is) {
		t.Errorf("the others were started again: %v, then %v", boots, is)
	}
	b.passes(t)
	b.run(t, 0, "down", b.name)
	b.clean(t)
}

// balancerEnds: PID 1 of its host restarts haproxy, and no other process.
func (b *lab) balancerEnds(t *testing.T) {
	t.Helper()
	haproxy := func() []int { return b.pids(t, "-db", "-f", "/etc/haproxy/haproxy.cfg") }
	agent := b.pids(t, "agent", "serve", "--name", "lb")
	pids := haproxy()
	if len(pids) != 1 || len(agent) != 1 {
		t.Fatalf("haproxy of lb is %v, its agent %v, want one each", pids, agent)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "haproxy runs again", func() bool { is := haproxy(); return len(is) == 1 && is[0] != pids[0] })
	until(t, "the lab is well again", func() bool { return b.command("status", b.name).Run() == nil })
	if is := b.pids(t, "agent", "serve", "--name", "lb"); !slices.Equal(is, agent) {
		t.Errorf("the agent of lb was process %v, and is %v", agent, is)
	}
}
