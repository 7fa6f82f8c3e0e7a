package e2e

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// nameByHand is a lab of scenarios/haproxy.yaml.
const nameByHand = "nlt-byhand"

// vipByHand is the VIP that the load balancers of that lab share, and ingressByHand the Ingress there.
const (
	vipByHand     = "172.30.0.90"
	ingressByHand = "http://" + vipByHand + "/one"
)

// TestLoadBalancerByHand: HAProxy on outside hosts leads clients to the Ingress, by the VIP that keepalived
// gives one of them. A Node that is switched off is out of it after two failed health checks, one that is
// added is in it; a load balancer that is switched off, or whose HAProxy hangs, yields the VIP.
func TestLoadBalancerByHand(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	data, err := os.ReadFile("../scenarios/haproxy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := l.lab(t, nameByHand, replaced(t, string(data), "metadata: {name: haproxy}\n", ""))
	b.run(t, 0, "up", b.file)
	r := b.verify(t, 0)
	checkPasses(t, r)
	rows := 0
	for _, p := range r.Paths {
		if p.ID == checks.OutsideToLBByHand && p.Outcome == report.Pass && strings.Contains(p.To.Name, "@") {
			rows++
		}
	}
	if rows != 20+10 {
		t.Errorf("%d paths through load balancers", rows)
	}
	t.Run("a Node is off", func(t *testing.T) {
		b.outage(t, ingressByHand, 5*time.Second, func() { b.run(t, 0, "power", "off", b.name, "w2") })
		b.run(t, 0, "up", b.file)
	})
	t.Run("a load balancer is off", func(t *testing.T) {
		b.held(t, vipByHand, "lb1")
		b.outage(t, ingressByHand, 6*time.Second, func() { b.run(t, 0, "power", "off", b.name, "lb1") })
		b.held(t, vipByHand, "lb2")
		for _, p := range b.verify(t, 1).Paths {
			if p.ID == checks.VRRPVIP && (p.Outcome != report.Pass || p.Property(report.KeyVIPOwner) != "lb2") || p.ID == checks.OutsideToLBByHand && strings.HasSuffix(p.To.Name, vipByHand) && p.Outcome != report.Pass {
				t.Error(describe(p))
			}
		}
		b.run(t, 0, "up", b.file)
		b.held(t, vipByHand, "lb1")
		b.passes(t)
	})
	t.Run("HAProxy hangs", func(t *testing.T) {
		b.exec(t, "lb1", "pkill -STOP -x haproxy")
		b.soon(t, func() bool { return b.holder(t, vipByHand) == "lb2" })
		b.exec(t, "lb1", "pkill -CONT -x haproxy")
		b.soon(t, func() bool { return b.holder(t, vipByHand) == "lb1" })
	})
	t.Run("split brain", func(t *testing.T) {
		b.exec(t, "lb2", "ip address add "+vipByHand+"/32 dev eth0")
		for _, p := range b.verify(t, 1).Paths {
			if p.ID == checks.VRRPVIP && (p.Outcome != report.Fail || p.Property(report.KeyVIPOwner) != "lb1 and lb2") {
				t.Error(describe(p))
			}
		}
		b.exec(t, "lb2", "ip address del "+vipByHand+"/32 dev eth0")
	})
	t.Run("PROXY protocol", func(t *testing.T) {
		b.write(t, b.text+"ingress: {proxyProtocol: true}\n")
		b.run(t, 0, "up", b.file)
		r := b.verify(t, 0)
		checkPasses(t, r)
		if !slices.ContainsFunc(r.Paths, func(p report.Result) bool {
			return p.ID == checks.OutsideToLBByHand && p.Property(report.KeyForwarded) == "172.30.0.102"
		}) {
			t.Error("no backend saw the client's address in X-Forwarded-For")
		}
	})
	t.Run("two routers", func(t *testing.T) {
		b.write(t, replaced(t, b.text, "  - {name: router, role: router, networks: [lan, wan]}\n", "  - {name: r1, role: router, vrrp: true}\n  - {name: r2, role: router, vrrp: true}\n"))
		b.run(t, 0, "up", b.file)
		b.passes(t)
		b.outage(t, "http://203.0.113.100:"+strconv.Itoa(agent.PortHTTP)+"/", 6*time.Second, func() { b.run(t, 0, "power", "off", b.name, "r1") })
		b.held(t, "172.30.0.1", "r2")
		b.held(t, "203.0.113.1", "r2")
		b.run(t, 0, "up", b.file)
		b.held(t, "172.30.0.1", "r1")
		b.passes(t)
		b.failover(t)
	})
	t.Run("one Node more", func(t *testing.T) {
		b.write(t, b.text+"nodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 3}]\n")
		b.run(t, 0, "up", b.file)
		b.passes(t)
		if config := b.exec(t, "lb1", "cat /etc/haproxy/haproxy.cfg"); !strings.Contains(config, "server w3 172.30.0.13:30080") {
			t.Errorf("HAProxy does not know the new Node:\n%s", config)
		}
	})
}

// outage has something done while the client asks for a URL, and checks for how long it gets no answer.
func (b *lab) outage(t *testing.T, url string, most time.Duration, do func()) {
	t.Helper()
	asked := make(chan []agent.Answer, 1)
	go func() { asked <- b.series(t, url, "12s") }()
	time.Sleep(2 * time.Second)
	do()
	var failed []agent.Answer
	for _, a := range <-asked {
		if a.Outcome != agent.Reply || a.Status != 200 {
			failed = append(failed, a)
		}
	}
	if len(failed) == 0 {
		return
	}
	took := time.Duration(failed[len(failed)-1].AfterMicros-failed[0].AfterMicros) * time.Microsecond
	t.Logf("%d requests failed, over %s", len(failed), took.Round(time.Millisecond))
	if took > most {
		t.Errorf("requests failed for %s", took)
	}
}

// failover measures how long the holders of the VIP and of the gateway are missed.
func (b *lab) failover(t *testing.T) {
	t.Helper()
	out, err := b.command("verify", b.name, "--failover", "--paths", checks.VRRPVIP, "-o", "json").Output()
	var r report.Report
	if jerr := json.Unmarshal(out, &r); err != nil || jerr != nil {
		t.Fatalf("verify --failover: %v, %v\n%s", err, jerr, out)
	}
	for _, id := range []string{checks.FailoverLoadBalancer, checks.FailoverRouter} {
		i := slices.IndexFunc(r.Paths, func(p report.Result) bool { return p.ID == id })
		if i < 0 || r.Paths[i].Outcome != report.Pass {
			t.Errorf("%s did not pass:\n%s", id, out)
			continue
		}
		// VRRP: three advertisements of 1 s, of which a part of one has passed, and the skew.
		if m, ok := r.Paths[i].Measured(report.MeasuredOutage); !ok || m.Value < 1500 {
			t.Errorf("%s took %v ms", id, m.Value)
		} else {
			t.Logf("%s: %.0f ms", id, m.Value)
		}
	}
}

// holder is who holds a VIP, as status has it.
func (b *lab) holder(t *testing.T, vip string) string {
	t.Helper()
	out, _ := b.command("status", b.name, "-o", "json").Output() // a machine that is off is a problem
	var status struct {
		SharedVIPs []struct {
			VIP     string
			Holders []string
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	for _, v := range status.SharedVIPs {
		if v.VIP == vip {
			return strings.Join(v.Holders, " ")
		}
	}
	return ""
}

func (b *lab) held(t *testing.T, vip, want string) {
	t.Helper()
	if got := b.holder(t, vip); got != want {
		t.Errorf("VIP %s is held by %q, want %q", vip, got, want)
	}
}

// series asks for a URL again and again, from the client; an Ingress by its host name.
func (b *lab) series(t *testing.T, url, during string) []agent.Answer {
	out, err := b.command("exec", b.name, "client", "--", "netlab", "agent", "probe", "http", url, "--host", "a.netlab.test",
		"--for", during, "--pause", "20ms", "--timeout", "500ms").Output()
	var r agent.Result
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Errorf("%s: %v, %v", url, err, jerr)
	}
	return r.Answers
}
