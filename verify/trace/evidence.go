// Package trace reconstructs from captured packets how a probe went: where it was seen, in
// what order, and how it was changed on the way. It is pure: frames and facts about the lab
// go in, Evidence comes out, and nothing that no interface saw is in it.
//
// packet.go decodes frames, capture.go finds the packets of one probe through translation
// and encapsulation, hops.go puts them in order, changes.go finds what changed between two,
// lost.go where the last one should have gone, and pcap.go writes a file.
package trace

// Evidence is how the packets of one probe went, from captures alone.
type Evidence struct {
	Hops   []Hop    `json:"hops"`             // in the order of time
	Lost   string   `json:"lost,omitempty"`   // "left w1 eth0 as VXLAN, never reached w2 eth0"
	Hidden []string `json:"hidden,omitempty"` // what no capture can see with this CNI
	Pcap   string   `json:"pcap,omitempty"`   // file with the packets themselves
}

// Hop is one packet of a probe on one interface. Source and Destination are those of the
// innermost packet, address and port.
type Hop struct {
	Machine     string   `json:"machine"`        // Node, outside host, or the fabric
	Pod         string   `json:"pod,omitempty"`  // whose namespace the interface is in
	Peer        string   `json:"peer,omitempty"` // the Pod at the other end of a Node's veth
	Interface   string   `json:"interface"`
	Direction   string   `json:"direction"` // in or out, as seen from its namespace
	Leg         string   `json:"leg"`       // request or reply
	Micros      int64    `json:"micros"`    // since the first hop
	Packet      string   `json:"packet"`    // "TCP SYN", "UDP"
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Outer       *Outer   `json:"outer,omitempty"`
	TTL         int      `json:"ttl"`
	Bytes       int      `json:"bytes"` // of the IP packet on this interface, outer headers included
	Changes     []Change `json:"changes,omitempty"`
}

// Outer is the encapsulation of a hop's packet.
type Outer struct {
	Kind        string `json:"kind"` // VXLAN
	VNI         int    `json:"vni"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Change is how a packet changed since the previous hop.
type Change struct {
	What string `json:"what"`         // "DNAT 10.96.0.7:80 → 10.244.1.5:8080"
	By   string `json:"by,omitempty"` // kube-proxy, CNI, router, ingress, or a service of an outside host; "" where it is not known
}

// The legs and directions of a Hop.
const (
	Request = "request"
	Reply   = "reply"

	In  = "in"
	Out = "out"
)
