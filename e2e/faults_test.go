package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/verify/report"
)

// fault is something that goes wrong in a lab, and how the verification reports it.
type fault struct {
	name     string
	do, undo func(*testing.T)
	breaks   []string                 // ids of which a path fails
	only     func(report.Result) bool // of those, only these; nil: all
	reason   string                   // regular expression; the reason of every path that fails
	lost     string                   // regular expression; where packets of the paths that it breaks were seen last
	spares   []string                 // ids of which every path still passes
}

// faults makes each fault on the running lab, sees the right paths fail for the right
// reason and others pass, undoes it, and sees everything pass again.
func (b *lab) faults(t *testing.T) {
	b.up(t)
	for _, f := range b.faultList(t) {
		t.Run(f.name, func(t *testing.T) {
			undone := false
			undo := func() {
				if !undone {
					undone = true
					f.undo(t)
				}
			}
			defer undo()
			f.do(t)
			f.check(t, b.verify(t, 1))
			undo()
			b.passes(t)
		})
	}
}

func (f fault) check(t *testing.T, r report.Report) {
	t.Helper()
	reason := regexp.MustCompile(f.reason)
	lost := regexp.MustCompile(f.lost)
	broke, spared := map[string]bool{}, map[string]bool{}
	for _, p := range r.Paths {
		failed := p.Outcome != report.Pass && p.Outcome != report.Skip
		switch {
		case slices.Contains(f.breaks, p.ID) && (f.only == nil || f.only(p)):
			if p.Outcome != report.Fail {
				t.Errorf("passes in spite of the fault: %s %s", p.Outcome, describe(p))
			}
			broke[p.ID] = true
			if f.lost != "" && (p.Evidence == nil || !lost.MatchString(p.Evidence.Lost) || !strings.Contains(p.Reason, p.Evidence.Lost)) {
				t.Errorf("the evidence does not name the hop (%s): %s; %+v", f.lost, describe(p), p.Evidence)
			}
		case failed && slices.Contains(f.spares, p.ID) && !(f.only != nil && f.only(p)):
			t.Errorf("the fault does not touch it: %s", describe(p))
		case p.Outcome == report.Pass:
			spared[p.ID] = true
		}
		if failed && !reason.MatchString(p.Reason) {
			t.Errorf("the reason does not name the fault (%s): %s", f.reason, describe(p))
		}
	}
	for _, id := range f.breaks {
		if !broke[id] {
			t.Errorf("no path %s was asked", id)
		}
	}
	for _, id := range f.spares {
		if !spared[id] {
			t.Errorf("no path %s passes", id)
		}
	}
}

func (b *lab) faultList(t *testing.T) []fault {
	t.Helper()
	const metallb = "metallb-system"
	speaker := strings.TrimSpace(b.kubectl(t, "-n", metallb, "get", "daemonset", "-o", "name"))
	pool := strings.TrimSpace(b.kubectl(t, "-n", metallb, "get", "ipaddresspools", "-o", "name"))
	within := []string{"pod-to-pod-same-node", "pod-to-pod-cross-node", "node-to-pod", "pod-to-clusterip", "pod-to-nodeport"}
	return []fault{
		{
			name: "power failure of a Node",
			do: func(t *testing.T) {
				b.passes(t) // so that VIPs are assigned and endpoints ready before
				b.run(t, 0, "power", "off", b.name, "w1")
				if out := b.run(t, 1, "status", b.name); !strings.Contains(out, "node w1 is off") || strings.Contains(out, "add machine") {
					t.Errorf("status does not say once that w1 is off:\n%s", out)
				}
				b.run(t, 1, "trace", b.name, "w1", "echo-lb")
				// It is silent: a closed port is not even refused (curl: 28 is a timeout).
				b.run(t, 28, "exec", b.name, "client", "--", "curl", "-s", "-m", "2", "http://172.30.0.11:9/")
			},
			undo: func(t *testing.T) {
				b.run(t, 0, "power", "on", b.name, "w1")
				until(t, "the lab is well again", func() bool { return b.command("status", b.name).Run() == nil })
			},
			breaks: []string{"pod-to-pod-cross-node"},
			only:   func(p report.Result) bool { return p.From.Node == "w1" || p.To.Node == "w1" },
			reason: `w1 is off`,
			spares: []string{"pod-to-pod-same-node", "pod-to-pod-cross-node", "container-to-container", "node-to-pod"},
		},
		{
			name: "firewall between two nodes",
			do: func(t *testing.T) {
				b.exec(t, "w1", `nft add table inet nlt
nft add chain inet nlt in '{ type filter hook prerouting priority -500; }'
nft add rule inet nlt in iifname eth0 ip saddr 172.30.0.12 drop`)
			},
			undo:   func(t *testing.T) { b.exec(t, "w1", "nft delete table inet nlt") },
			breaks: []string{"pod-to-pod-cross-node"},
			only: func(p report.Result) bool {
				return p.From.Node+p.To.Node == "w1w2" || p.From.Node+p.To.Node == "w2w1"
			},
			reason: `packets between w1 and w2 are lost`,
			lost:   `reached w1 eth0 as VXLAN, never reached w1 flannel\.1`,
			// A NodePort's request may be sent on between the two, or not.
			spares: []string{"pod-to-pod-cross-node", "pod-to-pod-same-node", "container-to-container"},
		},
		{
			name: "no CoreDNS",
			do: func(t *testing.T) {
				b.kubectl(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
				// While they end, kube-proxy sends to them still.
				b.kubectl(t, "-n", "kube-system", "wait", "pod", "-l", "k8s-app=kube-dns", "--for=delete", "--timeout=60s")
			},
			undo: func(t *testing.T) {
				b.kubectl(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas=2")
				b.kubectl(t, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
			},
			breaks: []string{"dns-service", "dns-external", "pod-to-headless", "pod-to-externalname"},
			reason: `CoreDNS has 0 ready endpoints: Deployment kube-system/coredns is scaled to 0`,
			// A Node reports a few packets per second (icmp_ratelimit), and drops the rest silently.
			lost:   `answered ICMP port unreachable|went no further in (cp|w\d) as 10\.96\.0\.10:53`,
			spares: append(within, "outside-to-loadbalancer", "outside-to-ingress-http", "outside-to-nodeport"),
		},
		{
			name: "no speaker",
			do: func(t *testing.T) {
				b.kubectl(t, "-n", metallb, "patch", speaker, "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"nlt":"away"}}}}}`)
				// While they end, they answer ARP still.
				b.kubectl(t, "-n", metallb, "wait", "pod", "-l", "app.kubernetes.io/component=speaker", "--for=delete", "--timeout=60s")
				// A Pod can be gone a moment before its process is.
				for _, node := range []string{"cp", "w1", "w2"} {
					b.exec(t, node, `timeout 30 sh -c 'while pgrep -x speaker; do sleep 0.1; done'`)
				}
			},
			undo: func(t *testing.T) {
				b.kubectl(t, "-n", metallb, "patch", speaker, "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"nlt":null}}}}}`)
				b.kubectl(t, "-n", metallb, "rollout", "status", speaker, "--timeout=60s")
			},
			breaks: []string{"outside-to-loadbalancer", "outside-to-ingress-http", "outside-to-ingress-https"},
			reason: `no metallb-speaker Pod is running`,
			lost:   `client asks on eth0 who has 172\.30\.0\.2\d\d, no ARP reply`,
			spares: append(within, "dns-service", "outside-to-nodeport"),
		},
		{
			name:   "wrong pool",
			do:     func(t *testing.T) { b.pool(t, pool, "172.30.0.230-172.30.0.239") },
			undo:   func(t *testing.T) { b.pool(t, pool, "172.30.0.200-172.30.0.219") },
			breaks: []string{"outside-to-loadbalancer"},
			reason: `VIP in the pool: expected 172\.30\.0\.200-172\.30\.0\.219, observed 172\.30\.0\.23\d`,
			spares: append(within, "dns-service", "outside-to-nodeport"),
		},
		{
			name: "no ingress backend",
			do: func(t *testing.T) {
				b.kubectl(t, "-n", "netlab-verify", "patch", "service", "echo-a", "-p", `{"spec":{"selector":{"app":"nobody"}}}`)
			},
			undo: func(t *testing.T) {
				b.kubectl(t, "-n", "netlab-verify", "delete", "service", "echo-a") // verify recreates it
			},
			reason: `Service echo-a has no ready endpoints: its selector is`,
			breaks: []string{"outside-to-ingress-http", "outside-to-ingress-https"},
			only: func(p report.Result) bool {
				return p.To.Name == "a.netlab.test/one" || p.To.Name == "b.netlab.test/two"
			},
			// The other backend's routes, and the controller's own answer to strangers, among them.
			spares: append(within, "dns-service", "outside-to-nodeport", "outside-to-loadbalancer", "outside-to-ingress-http", "outside-to-ingress-https"),
		},
	}
}

// pool changes MetalLB's pool and waits until the VIPs have moved into it.
func (b *lab) pool(t *testing.T, pool, addresses string) {
	t.Helper()
	patch := []string{"kubectl", b.name, "--", "-n", "metallb-system", "patch", pool, "--type=merge", "-p", `{"spec":{"addresses":["` + addresses + `"]}}`}
	// The API server may still hold a connection to MetalLB's webhook that an earlier fault cut.
	for range 5 {
		out, err := b.command(patch...).CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(string(out), "failed calling webhook") {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
	}
	b.run(t, 0, patch...)
	b.moved(t, addresses)
}

// moved waits until every VIP lies in a range that differs from others in its last
// number but one.
func (b *lab) moved(t *testing.T, addresses string) {
	t.Helper()
	first, last, _ := strings.Cut(addresses, "-")
	deadline := time.Now().Add(wait)
	for {
		vips := strings.Fields(b.kubectl(t, "get", "services", "-A", "-o", `jsonpath={.items[?(@.spec.type=="LoadBalancer")].status.loadBalancer.ingress[*].ip}`))
		outside := slices.DeleteFunc(slices.Clone(vips), func(vip string) bool {
			return len(vip) == len(first) && first <= vip && vip <= last
		})
		if len(vips) >= 3 && len(outside) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("VIPs are %v, want three in %s", vips, addresses)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// wait bounds what a cluster does by itself.
const wait = time.Minute
