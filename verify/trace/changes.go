package trace

import (
	"fmt"
	"net"
	"net/netip"

	"netlab.dev/netlab/topology"
)

// What changes packets.
const (
	byKubeProxy = "kube-proxy"
	byCNI       = "CNI"
	byRouter    = "router"
)

// translations records which part translated an address to which, so that the undoing in the
// reply is attributed to the same part.
type translations map[[2]netip.AddrPort]string

func mac(b []byte) string { return net.HardwareAddr(b).String() }

// changes are the differences between a packet at two hops.
func (c *Captures) changes(before, after *seen, leg string, done translations) []Change {
	if after.arp != nil || after.icmp != nil || before.icmp != nil {
		return nil
	}
	var out []Change
	add := func(by, format string, args ...any) {
		out = append(out, Change{What: fmt.Sprintf(format, args...), By: by})
	}
	same := before.outer != nil && after.outer != nil && *before.outer == *after.outer
	if before.outer != nil && !same {
		add(byCNI, "decapsulated from %s", before.outer.text())
	}
	source, destination := before.src != after.src, before.dst != after.dst
	switch {
	case leg == Request && destination:
		by := c.translator(before, after)
		add(by, "DNAT %s → %s", text(before.dst), text(after.dst))
		done[[2]netip.AddrPort{before.dst, after.dst}] = by
	case leg == Reply && source:
		by, known := done[[2]netip.AddrPort{after.src, before.src}]
		if !known {
			by = c.undoer(before, after)
		}
		add(by, "DNAT undone %s → %s", text(before.src), text(after.src))
	}
	switch {
	case leg == Request && source:
		by := c.masquerader(before, after, destination)
		add(by, "SNAT %s → %s", text(before.src), text(after.src))
		done[[2]netip.AddrPort{before.src, after.src}] = by
	case leg == Reply && destination:
		add(done[[2]netip.AddrPort{after.dst, before.dst}], "SNAT undone %s → %s", text(before.dst), text(after.dst))
	}
	if before.ttl != after.ttl {
		by := ""
		switch c.role(after.place) {
		case topology.RoleRouter:
			by = byRouter
		case topology.RoleCloud:
			by = c.Facts.Announcer
		}
		add(by, "TTL %d → %d", before.ttl, after.ttl)
	}
	if after.outer != nil && !same {
		add(byCNI, "encapsulated in %s", after.outer.text())
	}
	switch a, b := len(before.frames), len(after.frames); {
	case b > a:
		add("", "fragmented into %d", b)
	case b < a:
		add("", "reassembled from %d fragments", a)
	}
	return out
}

func (o Outer) text() string {
	return fmt.Sprintf("%s %d, %s → %s", o.Kind, o.VNI, o.Source, o.Destination)
}

func (c *Captures) role(place int) string {
	if c.Places[place].Pod != "" {
		return ""
	}
	m, _ := c.Facts.Plan.Machine(c.Places[place].Machine)
	return m.Role
}

// proxy is the part that handled a Service for a client. Packets do not show it: it is
// kube-proxy, unless the CNI does so itself, for all clients or for Pods.
func (c *Captures) proxy(client netip.Addr) string {
	if _, pod := c.Facts.pod(client); c.Facts.ReplacesKube || pod && c.Facts.ServesPods {
		return byCNI
	}
	return byKubeProxy
}

// undoer is the part that restored a Service's address in a reply, where the translation of
// the request was not seen.
func (c *Captures) undoer(before, after *seen) string {
	m, ok := c.changedAt(before, after)
	if !ok || m.Kind != topology.KindNode || c.Facts.Services[after.src.Addr()] == "" {
		return ""
	}
	return c.proxy(after.dst.Addr())
}

// changedAt is the machine on which a packet changed between two hops; between a Pod and its
// Node it is the Node.
func (c *Captures) changedAt(before, after *seen) (topology.Machine, bool) {
	at := c.Places[after.place]
	if at.Pod != "" && c.Places[before.place].Pod == "" {
		at = c.Places[before.place]
	}
	m, ok := c.Facts.Plan.Machine(at.Machine)
	return m, ok && at.Pod == ""
}

// translator is the part that changed a packet's destination at a place: on a Node the one
// that handles Services, if it was a Service's address or the Node's own, for a NodePort.
func (c *Captures) translator(before, after *seen) string {
	m, ok := c.changedAt(before, after)
	_, _, ours := c.Facts.machine(before.dst.Addr())
	switch {
	case !ok:
		return ""
	case m.Role == topology.RoleRouter:
		return byRouter
	case m.Role == topology.RoleCloud:
		return c.Facts.Announcer
	case m.Kind != topology.KindNode || !ours && c.Facts.Services[before.dst.Addr()] == "":
		return ""
	}
	return c.proxy(before.src.Addr())
}

// masquerader is the part that changed a packet's source. The CNI rewrites that of a Pod,
// unless the packet goes to a Service; with a DNAT, or from a client outside, it is the part
// that handles Services.
func (c *Captures) masquerader(before, after *seen, translated bool) string {
	m, ok := c.changedAt(before, after)
	switch {
	case !ok:
		return ""
	case m.Role == topology.RoleRouter:
		return byRouter
	case m.Role == topology.RoleCloud:
		return c.Facts.Announcer
	case m.Kind != topology.KindNode:
		return ""
	}
	if _, pod := c.Facts.pod(before.src.Addr()); pod && !translated {
		return byCNI
	}
	return c.proxy(before.src.Addr())
}

// announcer is the part that answers ARP for an address: the load balancer, if no machine
// has the address.
func (c *Captures) announcer(ip netip.Addr) string {
	if _, _, own := c.Facts.machine(ip); own || !c.Facts.Plan.LoadBalancer.Contains(ip) {
		return ""
	}
	return c.Facts.Announcer
}

// translatedBefore reports a destination that was rewritten before any interface saw the
// packet, as eBPF does at the socket.
func (c *Captures) translatedBefore(legs []leg) string {
	for _, l := range legs {
		if len(l.hops) == 0 || l.hops[0].arp != nil {
			continue
		}
		if l.asked.IsValid() && l.asked != l.hops[0].dst {
			return fmt.Sprintf("DNAT %s → %s at the socket of %s: not visible here", text(l.asked), text(l.hops[0].dst), c.Places[l.hops[0].place].name())
		}
		return ""
	}
	return ""
}
