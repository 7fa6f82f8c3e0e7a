package e2e

import (
	"encoding/json"
	"os"
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

// TestLoadBalancerByHand: HAProxy on outside hosts leads clients to the Ingress; a Node that is switched
// off is out of it within the time of two health checks, one that is added is in it.
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
		if p.ID == checks.OutsideToLBByHand && p.Outcome == report.Pass && strings.Contains(p.To.Name, "@lb") {
			rows++
		}
	}
	if rows != 20 {
		t.Errorf("%d paths through load balancers", rows)
	}
	t.Run("a Node is off", func(t *testing.T) {
		asked := make(chan []agent.Answer, 1)
		go func() { asked <- b.series(t, "http://172.30.0.100/one", "10s") }()
		time.Sleep(2 * time.Second)
		b.run(t, 0, "power", "off", b.name, "w2")
		var failed []agent.Answer
		for _, a := range <-asked {
			if a.Outcome != agent.Reply || a.Status != 200 {
				failed = append(failed, a)
			}
		}
		if len(failed) > 0 {
			first, last := failed[0].AfterMicros, failed[len(failed)-1].AfterMicros
			t.Logf("%d requests failed, over %d ms", len(failed), (last-first)/1000)
			if last-first > 3e6 {
				t.Errorf("requests failed for %d ms", (last-first)/1000)
			}
		}
		b.run(t, 0, "up", b.file)
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

// series asks the Ingress for a URL again and again, from the client.
func (b *lab) series(t *testing.T, url, during string) []agent.Answer {
	out, err := b.command("exec", b.name, "client", "--", "netlab", "agent", "probe", "http", url, "--host", "a.netlab.test",
		"--for", during, "--pause", "20ms", "--timeout", "500ms").Output()
	var r agent.Result
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Errorf("%s: %v, %v", url, err, jerr)
	}
	return r.Answers
}
