package observe

import (
	"net/netip"
	"testing"
)

// A Node's own addresses are those of its interfaces, wherever its CNI takes them from, and those
// of its Pod CIDR that no Pod has.
func TestOwnEnd(t *testing.T) {
	s := Snapshot{
		PodCIDRs: map[string]netip.Prefix{"cp": netip.MustParsePrefix("10.244.0.0/24"), "w1": netip.MustParsePrefix("10.244.1.0/24")},
		Own:      map[string][]netip.Addr{"cp": {netip.MustParseAddr("10.244.242.67")}}, // a tunnel of Calico's IPAM
		Foreign:  map[string]bool{"10.244.0.5": true, "10.244.242.68": true},
	}
	for ip, want := range map[string]bool{
		"10.244.242.67": true, "10.244.242.68": false, "10.244.242.69": false,
		"10.244.0.0": true, "10.244.0.5": false, "10.244.1.0": false, "": false,
	} {
		if s.OwnEnd(ip, "cp") != want {
			t.Errorf("%s is cp's own: %v", ip, !want)
		}
	}
}
