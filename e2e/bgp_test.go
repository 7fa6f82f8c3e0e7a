package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// nameBGP is a lab of scenarios/metallb-bgp.yaml.
const nameBGP = "nlt-bgp"

// TestBGP: Nodes announce VIPs to the lab's router. Every path is green; what is wrong with a session or
// an announcement fails the paths that it concerns, with its reason, and `up` restores it. Only
// `make test-all` runs it: the MetalLB that it takes is one more to build.
func TestBGP(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	data, err := os.ReadFile("../scenarios/metallb-bgp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := l.lab(t, nameBGP, replaced(t, string(data), "metadata: {name: metallb-bgp}\n", ""))
	b.run(t, 0, "up", b.file)
	r := b.verify(t, 0)
	b.routes(t, r, map[string]string{"cp": "none", "w1": "", "w2": ""})
	if status := b.run(t, 0, "status", b.name); strings.Count(status, " Established ") != 3 {
		t.Errorf("status says\n%s", status)
	}
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}

	b.write(t, replaced(t, b.text, "{mode: bgp}", `{mode: bgp, bgp: {password: lab, communities: ["64501:100", "64501:200"]}}`))
	if out := b.run(t, 0, "plan", b.file); !strings.Contains(out, "configure how VIPs are announced") {
		t.Errorf("plan says\n%s", out)
	}
	b.run(t, 0, "up", b.file)
	r = b.verify(t, 0)
	b.routes(t, r, map[string]string{"cp": "none", "w1": "", "w2": ""})
	for _, p := range r.Paths {
		if got := p.Property(report.KeyCommunities); p.ID == checks.RouterToVIP && got != "64501:100 64501:200" {
			t.Errorf("%s is announced with the communities %q", p.To.Name, got)
		}
	}

	const noSession, noHops = "no BGP session with 172.30.0.1[012] ", "next hops of router: expected w1( w2)?, observed none"
	for _, f := range []routingFault{
		{name: "wrong AS", do: metallb("patch", "bgppeer", "router", "--type=merge", `-p={"spec":{"myASN":64999}}`),
			breaks: map[string]string{checks.BGPSession: noSession, checks.RouterToVIP: noHops, checks.OutsideToLoadBalancer: noHops}},
		{name: "wrong password", do: metallb("patch", "bgppeer", "router", "--type=merge", `-p={"spec":{"password":"other"}}`),
			breaks: map[string]string{checks.BGPSession: noSession + ".*refused so far: [0-9]+ with another password", checks.RouterToVIP: noHops, checks.OutsideToLoadBalancer: noHops}},
		{name: "no advertisement", do: metallb("delete", "bgpadvertisement", "lab"),
			breaks: map[string]string{checks.BGPSession: "prefixes accepted: expected 198.51.100.[12]/32 .*, observed none", checks.RouterToVIP: noHops, checks.OutsideToLoadBalancer: noHops}},
		{name: "firewall", do: onRouter("nft add table ip nlt; nft 'add chain ip nlt in { type filter hook input priority 0; }'; nft add rule ip nlt in tcp dport 179 drop; sleep 10"),
			undo:   onRouter("nft delete table ip nlt"),
			breaks: map[string]string{checks.BGPSession: noSession + ".*Hold Timer Expired", checks.RouterToVIP: noHops, checks.OutsideToLoadBalancer: noHops}},
		{name: "no forwarding", do: onRouter("sysctl -w net.ipv4.ip_forward=0"),
			breaks: map[string]string{checks.OutsideToLoadBalancer: "reached router eth[02], never left router|went no further in router"}},
	} {
		t.Run(f.name, func(t *testing.T) { f.check(t, b) })
	}

	t.Run("a Node is off", func(t *testing.T) {
		b.run(t, 0, "power", "off", b.name, "w2")
		b.soon(t, func() bool { return !strings.Contains(b.exec(t, "router", "ip route show proto bgp"), "172.30.0.12") })
		r := b.verify(t, 1)
		for _, p := range r.Paths {
			switch {
			case p.ID == checks.BGPSession && (p.Outcome == report.Pass) != (p.To.Name != "w2"),
				p.ID == checks.RouterToVIP && p.Property(report.KeyNextHops) != "w1":
				t.Errorf("%s %s: %v", p.Outcome, describe(p), p.Properties)
			}
		}
		b.run(t, 0, "up", b.file)
		b.passes(t)
	})
	t.Run("aggregated", func(t *testing.T) {
		b.write(t, replaced(t, b.text, "{mode: bgp}", "{mode: bgp, bgp: {aggregationLength: 24}}"))
		b.run(t, 0, "up", b.file)
		r := b.verify(t, 0)
		checkPasses(t, r)
		for _, p := range r.Paths {
			if want := map[bool]string{true: "none", false: "198.51.100.0/24"}[p.To.Name == "cp"]; p.ID == checks.BGPSession && p.Property(report.KeyPrefixes) != want {
				t.Errorf("%s announces %s", p.To.Name, p.Property(report.KeyPrefixes))
			}
			if p.ID == checks.RouterToVIP && p.Outcome == report.Pass && p.Property(report.KeyNextHops) != "w1 w2" {
				t.Errorf("VIP of %s by %s", p.To.Name, p.Property(report.KeyNextHops))
			}
		}
	})
	t.Run("one Node more", func(t *testing.T) {
		pids := b.exec(t, "router", "cat /proc/1/stat")
		b.write(t, b.text+"nodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 3}]\n")
		b.run(t, 0, "up", b.file)
		b.routes(t, b.verify(t, 0), map[string]string{"cp": "none", "w1": "", "w2": "", "w3": ""})
		if now := b.exec(t, "router", "cat /proc/1/stat"); strings.Fields(now)[21] != strings.Fields(pids)[21] {
			t.Errorf("the router was started again")
		}
	})
}

// routes checks the paths of routers: a session with each Node, which announces something or nothing,
// and VIPs by the Nodes that do.
func (b *lab) routes(t *testing.T, r report.Report, announces map[string]string) {
	t.Helper()
	checkPasses(t, r)
	sessions, vips := 0, 0
	var nodes []string
	for node, what := range announces {
		if what == "" {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	for _, p := range r.Paths {
		hops := p.Property(report.KeyNextHops)
		switch p.ID {
		case checks.BGPSession:
			sessions++
			want, known := announces[p.To.Name]
			if got := p.Property(report.KeyPrefixes); !known || (got == "none") != (want == "none") {
				t.Errorf("%s announces %s", p.To.Name, got)
			}
		case checks.RouterToVIP:
			vips++
			if p.To.Name == "echo-lb" && (hops != strings.Join(nodes, " ") || p.Property(report.KeySpread) != hops) {
				t.Errorf("VIP of %s by %s, flows by %s", p.To.Name, hops, p.Property(report.KeySpread))
			}
		case checks.OutsideToLoadBalancer:
			if hops == "" {
				t.Errorf("no next hops of %s", describe(p))
			}
		}
	}
	if sessions != len(announces) || vips != 2 {
		t.Errorf("%d sessions and %d VIPs", sessions, vips)
	}
}

// routingFault is something wrong with sessions, announcements or the router.
type routingFault struct {
	name     string
	do, undo func(*testing.T, *lab) // without undo, `up` restores it
	breaks   map[string]string      // path → its reason
}

// metallb changes MetalLB's configuration by kubectl.
func metallb(args ...string) func(*testing.T, *lab) {
	return func(t *testing.T, b *lab) { b.kubectl(t, append([]string{"-n=metallb-system"}, args...)...) }
}

func onRouter(script string) func(*testing.T, *lab) {
	return func(t *testing.T, b *lab) { b.exec(t, "router", script) }
}

func (f routingFault) check(t *testing.T, b *lab) {
	f.do(t, b)
	broken := map[string]bool{}
	for _, p := range b.verify(t, 1).Paths {
		reason, fails := f.breaks[p.ID]
		if !fails || p.To.Name == "cp" && p.ID == checks.BGPSession && p.Outcome == report.Pass {
			continue
		}
		broken[p.ID] = true
		if p.Outcome != report.Fail || !regexp.MustCompile(reason).MatchString(p.Reason) {
			t.Errorf("%s %s, want the reason %s", p.Outcome, describe(p), reason)
		}
	}
	if len(broken) != len(f.breaks) {
		t.Errorf("broken are %v", broken)
	}
	if f.undo != nil {
		f.undo(t, b)
		b.soon(t, func() bool { return strings.Count(b.run(t, 0, "status", b.name), " Established ") == 3 })
	} else {
		b.run(t, 0, "up", b.file)
	}
	b.passes(t)
}

// soon waits until something is true: MetalLB tries a session again after 1, 2, 4, 8 and 16 s.
func (b *lab) soon(t *testing.T, is func() bool) {
	t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > 30*time.Second {
			t.Fatal("it takes longer than 30 s")
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("%5.1f s  until it was so", time.Since(began).Seconds())
}
