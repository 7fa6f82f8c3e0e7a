package balancer

import (
	"fmt"
	"net/netip"
	"strings"
)

// table is the nftables table of the load balancer.
const table = "cloud"

// forward is one NodePort that connections to a port of a VIP are forwarded to.
type forward struct {
	vip      netip.Addr
	protocol string
	port     uint16
	node     netip.Addr
	nodePort uint16
}

// forwards are those of all healthy Nodes.
func (s State) forwards() (all []forward) {
	for _, b := range s.Balancers {
		for _, l := range b.Listeners {
			for _, n := range s.Healthy(l) {
				all = append(all, forward{b.VIP, l.Protocol, l.Port, n.Address, l.NodePort})
			}
		}
	}
	return all
}

// rules are the load balancer as nft reads it, in one transaction. New connections, and datagrams of new pairs of
// addresses and ports, go to the healthy Nodes in turn (connection tracking keeps the rest where it is), with
// the host's own address as their source: else a Node would answer the client directly, past the load balancer.
// What is sent to a VIP without a listener or a healthy Node is rejected. The host routes no other traffic.
func (s State) rules() string {
	var r strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&r, format+"\n", args...) }
	line("add table ip %s\ndelete table ip %s\ntable ip %s {", table, table, table)
	line("\tchain sources {\n\t\ttype filter hook prerouting priority mangle; policy accept;")
	for _, b := range s.Balancers {
		if len(b.Sources) > 0 {
			line("\t\tip daddr %s ip saddr != { %s } drop", b.VIP, texts(b.Sources))
		}
	}
	line("\t}\n\tchain forwards {\n\t\ttype nat hook prerouting priority dstnat; policy accept;")
	for _, b := range s.Balancers {
		for _, l := range b.Listeners {
			var to []string
			for i, n := range s.Healthy(l) {
				to = append(to, fmt.Sprintf("%d : %s", i, n.Address))
			}
			if len(to) > 0 {
				line("\t\tip daddr %s %s dport %d dnat to numgen inc mod %d map { %s } : %d", b.VIP, l.Protocol, l.Port, len(to), strings.Join(to, ", "), l.NodePort)
			}
		}
	}
	line("\t}\n\tchain rejects {\n\t\ttype filter hook input priority filter; policy accept;")
	for _, b := range s.Balancers {
		line("\t\tip daddr %s icmp type echo-request accept", b.VIP)
		line("\t\tip daddr %s meta l4proto tcp reject with tcp reset", b.VIP)
		line("\t\tip daddr %s reject", b.VIP)
	}
	line("\t}\n\tchain passes {\n\t\ttype filter hook forward priority filter; policy drop;\n\t\tct status dnat accept\n\t}")
	line("\tchain masquerades {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tct status dnat masquerade\n\t}\n}")
	return r.String()
}

// texts lists prefixes without those that lie in others: nft refuses a set whose elements overlap.
func texts(prefixes []netip.Prefix) string {
	var all []string
	for i, p := range prefixes {
		inside := func(j int, q netip.Prefix) bool {
			return q.Overlaps(p) && (q.Bits() < p.Bits() || q.Bits() == p.Bits() && j < i)
		}
		covered := false
		for j, q := range prefixes {
			covered = covered || inside(j, q)
		}
		if !covered {
			all = append(all, p.Masked().String())
		}
	}
	return strings.Join(all, ", ")
}
