package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// restored: what was deleted or edited in the cluster by hand is named by `status`, and `up` makes
// it be as the file says. What the user added stays.
func (b *lab) restored(t *testing.T) {
	b.up(t)
	const vip = "172.30.0.250/32" // as keepalived or kube-vip add it
	b.exec(t, "cp", "ip addr add "+vip+" dev eth0")
	b.kubectl(t, "create", "namespace", "nlt-user")
	b.run(t, 0, "status", b.name)
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("up with an address that the user added says %q", out)
	}
	b.kubectl(t, "-n", "nlt-user", "run", "bare", "--image="+b.pause(t), "--image-pull-policy=Never", `--overrides={"spec":{"nodeName":"w1"}}`)
	b.kubectl(t, "-n", "nlt-user", "wait", "pod/bare", "--for=condition=Ready", "--timeout=60s")
	podCIDR := func() string { return b.kubectl(t, "get", "node", "w1", "-o", "jsonpath={.spec.podCIDR}") }
	was := podCIDR()
	for _, c := range []struct {
		name   string
		damage func(*testing.T)
		status []string // that status says
	}{
		{"pool deleted", func(t *testing.T) {
			b.kubectl(t, "-n", "metallb-system", "delete", "ipaddresspool", "lab")
		}, []string{"metallb: IPAddressPool metallb-system/lab not found"}},
		{"pool edited, CoreDNS scaled to 0, kube-proxy deleted", func(t *testing.T) {
			b.kubectl(t, "-n", "metallb-system", "patch", "ipaddresspool", "lab", "--type=merge", "-p", `{"spec":{"addresses":["172.30.0.230-172.30.0.239"]}}`)
			b.kubectl(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
			b.kubectl(t, "-n", "kube-system", "delete", "daemonset", "kube-proxy")
		}, []string{"IPAddressPool metallb-system/lab: spec.addresses is ", "Deployment kube-system/coredns: spec.replicas is 0, applied was 2", "DaemonSet kube-system/kube-proxy not found"}},
		{"speakers and CoreDNS sent away", func(t *testing.T) {
			away := `{"spec":{"template":{"spec":{"nodeSelector":{"nlt":"away"}}}}}`
			b.kubectl(t, "-n", "metallb-system", "patch", "daemonset", "metallb-speaker", "-p", away)
			b.kubectl(t, "-n", "kube-system", "patch", "deployment", "coredns", "-p", away)
		}, []string{"DaemonSet metallb-system/metallb-speaker: 0 of 0 Pods available", "Deployment kube-system/coredns: "}},
		{"MetalLB's namespace deleted", func(t *testing.T) {
			b.kubectl(t, "delete", "namespace", "metallb-system", "--wait=false")
		}, []string{"Namespace metallb-system not found"}},
		{"Node deleted", func(t *testing.T) { b.kubectl(t, "delete", "node", "w1") }, []string{"Node w1 is not registered"}},
		{"kubelet stopped", func(t *testing.T) {
			b.exec(t, "w1", "pkill -STOP -x kubelet")
			until(t, "status names the Node", func() bool {
				out, _ := b.command("status", b.name).CombinedOutput()
				return strings.Contains(string(out), "Node w1 is not ready")
			})
		}, []string{"Node w1 is not ready: its kubelet has not renewed its lease for "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.damage(t)
			out, plan := b.run(t, 1, "status", b.name), b.run(t, 0, "plan", b.file)
			for _, want := range c.status {
				if !strings.Contains(out, want) || !strings.Contains(plan, "restore: ") {
					t.Errorf("status or plan do not say %q:\n%s\n%s", want, out, plan)
				}
			}
			b.up(t)
			b.run(t, 0, "status", b.name)
		})
	}
	if is := podCIDR(); is != was {
		t.Errorf("the Pod CIDR of w1 was %s, and is %s", was, is)
	}
	if out := b.kubectl(t, "-n", "nlt-user", "get", "pod", "bare", "-o", "jsonpath={.status.phase}"); out != "Running" {
		t.Errorf("the user's Pod on the Node that was deleted is %s", out)
	}
	b.kubectl(t, "-n", "nlt-user", "delete", "pod", "bare", "--now")
	if out := b.exec(t, "cp", "ip -4 -br addr show eth0"); !strings.Contains(out, vip) {
		t.Errorf("an address that the user added is gone: %s", out)
	}
	b.passes(t)
	t.Run("consent", b.consent)
	b.kubectl(t, "delete", "namespace", "nlt-user")
}

// consent: what recreates the cluster is refused without --remake, with what goes; a lab of another
// file too.
func (b *lab) consent(t *testing.T) {
	defer b.write(t, b.text)
	b.kubectl(t, "-n", "nlt-user", "create", "deployment", "web", "--image=example.test/none:1")
	boots := b.boots(t, "cp")["cp"]
	refused := func(file string, says ...string) {
		t.Helper()
		plan := b.run(t, 0, "plan", file)
		_, stderr := b.output(t, 2, "up", file)
		for _, want := range append(says, "1 Namespace: nlt-user", "1 workload: Deployment nlt-user/web") {
			if !strings.Contains(stderr, want) || strings.Contains(want, ": ") && !strings.Contains(plan, want) {
				t.Errorf("not said: %q\nup: %s\nplan: %s", want, stderr, plan[max(0, len(plan)-600):])
			}
		}
	}
	b.write(t, replaced(t, b.text, "backend: vxlan", "backend: host-gw"))
	refused(b.file, "recreates the cluster and requires --remake")
	data, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, b.text)
	other := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(other, data, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(other, "replaces lab "+b.name+", which was made from "+b.file+", and requires --remake")
	if is := b.boots(t, "cp")["cp"]; is != boots {
		t.Error("a refused up restarted a Node")
	}
	b.run(t, 0, "status", b.name)
}

// pause is the reference of an image that every Node has, whose only program waits.
func (b *lab) pause(t *testing.T) string {
	t.Helper()
	return strings.Fields(b.exec(t, "w1", "ctr -n k8s.io images ls -q | grep ^registry.k8s.io/pause:"))[0]
}
