package local

import "testing"

// A lab needs room for every Node to know every other one, beside what the table has already: other labs
// share it. A lab that runs needs no more.
func TestNeighborsWithin(t *testing.T) {
	for _, c := range []struct {
		used, all, run int
		unmet, sysctl  string
	}{
		{all: 3},
		{all: 28},
		{all: 0, used: 5000}, // Nodes with kernels of their own
		{all: 31, run: 31, used: 1024},
		{all: 31, unmet: "the lab's 31 Nodes fill about 1178 more entries of the ARP table, which they share with the machine; it has room for 1024 and has 0",
			sysctl: "sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 net.ipv4.neigh.default.gc_thresh3=4096"},
		{all: 20, used: 500, unmet: "the lab's 20 Nodes fill about 540 more entries of the ARP table, which they share with the machine; it has room for 1024 and has 500",
			sysctl: "sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 net.ipv4.neigh.default.gc_thresh3=4096"},
		{all: 21, run: 20, used: 500},
	} {
		n := neighborsWithin(1024, c.used, c.all, c.run)
		if n.met != (c.unmet == "") || !n.met && (n.what != c.unmet || n.hint != c.sysctl) {
			t.Errorf("%d used, %d Nodes of which %d run: %+v", c.used, c.all, c.run, n)
		}
	}
	if is := roomFor(512, 1025); is != 2048 {
		t.Errorf("room for 1025 is %d", is)
	}
}
