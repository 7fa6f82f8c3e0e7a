package fabric

import (
	"net/netip"
	"strings"
	"testing"

	"netlab.dev/netlab/topology"
)

// An address of the plan that somebody on the bridge has is refused before a machine of the
// lab gets it; the lab's own machines, which answer for theirs, are not.
func TestAddressesInUse(t *testing.T) {
	needRoot(t)
	run(t, "ip", "link", "add", "br0", "address", "02:00:5e:00:00:01", "type", "bridge")
	run(t, "ip", "link", "set", "br0", "addrgenmode", "none", "up")
	t.Cleanup(func() { run(t, "ip", "link", "del", "br0") })
	p := quickstart("nlt-c")
	lan := p.Networks[0]
	p.Networks[0].Uplink, p.Networks[0].MTU = "br0", 1500
	w1, _ := p.Machine("w1")
	p.LoadBalancer.Pools = []topology.Pool{{Network: lan.Name, First: w1.Address().Next(), Last: w1.Address().Next().Next().Next()}}
	vip := p.LoadBalancer.Pools[0].Last
	for _, c := range []struct {
		address netip.Addr
		want    []string
	}{
		{w1.Address(), []string{w1.Address().String() + " by 02:00:5e:00:00:01", "use a CIDR or pools of free addresses"}},
		{vip, []string{vip.String() + " by 02:00:5e:00:00:01"}},
		{lan.Gateway(), []string{lan.Gateway().String() + " by 02:00:5e:00:00:01", "set gateway: " + lan.Gateway().String()}},
	} {
		run(t, "ip", "addr", "add", c.address.String()+"/32", "dev", "br0")
		err := Create(t.Context(), p)
		for _, want := range c.want {
			if text := explained(err); !strings.Contains(text, want) {
				t.Errorf("%s is in use: %s, want %s", c.address, text, want)
			}
		}
		if links := run(t, "ip", "-o", "link", "show", "master", "br0"); strings.Contains(links, "nl-") {
			t.Errorf("the network is still connected: %s", links)
		}
		must(t, Delete(t.Context(), p.Lab))
		run(t, "ip", "addr", "del", c.address.String()+"/32", "dev", "br0")
	}
	must(t, Create(t.Context(), p))
	must(t, Create(t.Context(), p)) // its own machines answer now
	noDiff(t, p)
	must(t, Delete(t.Context(), p.Lab))
}

// explained is an error with its hints.
func explained(err error) string {
	if err == nil {
		return "no error"
	}
	text := err.Error()
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			text += " " + explained(e)
		}
	}
	if hinted, ok := err.(interface{ Hint() string }); ok {
		text += " " + hinted.Hint()
	}
	return text
}
