package labs

import (
	"net/netip"
	"testing"
)

// The default pool of mode bgp overlaps nothing of the lab, however small.
func TestDefaultRoutedPool(t *testing.T) {
	l := Lab{Kubernetes: Kubernetes{PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("198.18.0.0/15")}}
	for _, c := range []struct{ network, want string }{
		{"172.30.0.0/24", "198.51.100.1-198.51.100.20"},
		{"198.51.100.8/29", "192.0.2.1-192.0.2.20"},
		{"192.0.0.0/16", "203.0.113.1-203.0.113.20"},
		{"203.0.113.0/24", ""},
	} {
		l.Networks = append(l.Networks, Network{CIDR: netip.MustParsePrefix(c.network)})
		if got := l.DefaultRoutedPool(); got != c.want {
			t.Errorf("with network %s the pool is %q, want %q", c.network, got, c.want)
		}
	}
	l.Networks = []Network{{CIDR: netip.MustParsePrefix("198.51.101.0/24")}}
	for bits, want := range map[int]string{32: "198.51.100.1-198.51.100.20", 28: "198.51.100.0/28", 24: "198.51.100.0/24", 16: "", 12: ""} {
		l.LoadBalancer.BGP = &BGP{AggregationLength: bits}
		if got := l.DefaultRoutedPool(); got != want {
			t.Errorf("announced in a /%d the pool is %q, want %q", bits, got, want)
		}
	}
}
