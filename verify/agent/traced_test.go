package agent

import "testing"

// Sockets that looked up an address are reported only if the probe got no further.
func TestSocketsOfNames(t *testing.T) {
	s := &sockets{names: []Socket{{"udp", 1, "10.96.0.10:53"}, {"udp", 2, "10.96.0.10:53"}}}
	if got := s.list(); len(got) != 1 || got[0].Port != 1 {
		t.Errorf("of lookups alone: %+v", got)
	}
	s.all = []Socket{{"tcp", 3, "10.244.1.5:8080"}}
	if got := s.list(); len(got) != 1 || got[0].Port != 3 {
		t.Errorf("of a connection: %+v", got)
	}
}
