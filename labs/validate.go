package labs

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// validator finds everything wrong with a lab whose defaults are filled in. A field
// that the decoder could not read is told already and counts as left out.
type validator struct {
	lab      Lab
	known    Known
	has      func(path string) bool // whether the file has a field
	told     func(path string) bool // whether a problem was told of a field, or in it
	problems Problems
}

// validate makes the further checks too, unless there are too many machines to go on.
func (v *validator) validate(checks []Check) {
	v.header()
	v.cluster()
	v.libvirt()
	v.networks()
	v.nodes()
	v.hosts()
	v.overlaps()
	v.cni()
	v.loadBalancer()
	v.ingress()
	v.throughput()
	if n := len(v.lab.Members()); n > maxMembers {
		v.add("nodes", fmt.Sprintf("%d at most", maxMembers), "Nodes and hosts come to %d machines", n)
		return
	}
	v.memberNames()
	for _, check := range checks {
		v.problems = append(v.problems, check(v.lab)...)
	}
}

func (v *validator) add(field, hint, format string, args ...any) {
	v.problems.add(field, hint, format, args...)
}

func (v *validator) header() {
	for _, f := range []struct{ name, want string }{
		{"apiVersion", APIVersion},
		{"kind", Kind},
	} {
		if !v.has(f.name) {
			v.add(f.name, "a lab file begins with "+f.name+": "+f.want, "is missing")
		}
	}
	if v.lab.Metadata.Name.Check() != nil {
		v.add("metadata.name", "", "is missing")
	}
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// label checks a name that becomes a host name (RFC 1123) or part of one.
func (v *validator) label(field, name string) {
	switch {
	case name == "":
		v.add(field, "", "is missing")
		return
	case dnsLabel.MatchString(name):
		return
	}
	v.add(field, labelHint(name, 63), "%q is no DNS label", name)
}

// oneOf checks a value against the known ones.
func (v *validator) oneOf(field, what, value string, known []string) bool {
	switch {
	case slices.Contains(known, value):
		return true
	case value == "":
		v.add(field, didYouMean(value, known), "is missing")
	default:
		v.add(field, didYouMean(value, known), "%q is no %s", value, what)
	}
	return false
}

// version checks that a version is shipped.
func (v *validator) version(field, what, value string, known Choices) {
	if versions := known.Versions(); !slices.Contains(versions, value) {
		v.add(field, "", "%s %s is not available; this release ships %s", what, value, strings.Join(versions, ", "))
	}
}

func (v *validator) cluster() {
	k := v.lab.Kubernetes
	v.oneOf("provider", "provider", v.lab.Provider, v.known.Providers)
	v.version("kubernetes.version", "Kubernetes", k.Version, v.known.Kubernetes)
	v.oneOf("kubernetes.proxy", "kube-proxy mode this netlab has", k.Proxy, v.known.Kubernetes.Of(k.Version).Modes)
	if v.cidr("kubernetes.podCIDR", k.PodCIDR) {
		nodes, room := 0, 0
		for _, m := range v.lab.Members() {
			if m.Node {
				nodes++
			}
		}
		if k.PodCIDR.Bits() <= 24 {
			room = 1 << (24 - k.PodCIDR.Bits())
		}
		if room < nodes {
			v.add("kubernetes.podCIDR", "a /16 is enough for 256", "%s holds a /24 for %d Nodes, the lab has %d", k.PodCIDR, room, nodes)
		}
	}
	if v.cidr("kubernetes.serviceCIDR", k.ServiceCIDR) && (k.ServiceCIDR.Bits() < 12 || k.ServiceCIDR.Bits() > 24) {
		v.add("kubernetes.serviceCIDR", "such as 10.96.0.0/16", "%s is none of /12 to /24", k.ServiceCIDR)
	}
}

// The least is what IPv6 asks of any link (RFC 8200), so that no tunnel of a CNI falls
// below what hosts must take; the most is the usual jumbo frame.
const minMTU, maxMTU = 1280, 9000

// maxVLAN is the last one that IEEE 802.1Q leaves to its users.
const maxVLAN = 4094

// linkName is what Linux takes for a link's name, less what a shell would mind (IFNAMSIZ is 16).
var linkName = regexp.MustCompile(`^[a-zA-Z0-9][-_.@a-zA-Z0-9]{0,14}$`)

func (v *validator) networks() {
	if len(v.lab.Networks) == 0 {
		v.add("networks", "leave the field out for lan and wan", "there is none")
	}
	seen, joined := map[string]int{}, map[string]int{}
	for i, n := range v.lab.Networks {
		at := fmt.Sprintf("networks[%d]", i)
		v.label(at+".name", n.Name)
		if first, again := seen[n.Name]; again && n.Name != "" {
			v.add(at+".name", "names are unique", "%s is also the name of networks[%d]", n.Name, first)
		} else {
			seen[n.Name] = i
		}
		if !n.CIDR.IsValid() {
			v.add(at+".cidr", "such as 172.30.0.0/24", "is missing")
		} else if v.cidr(at+".cidr", n.CIDR) && n.CIDR.Bits() > 29 {
			v.add(at+".cidr", "a /29 is the smallest", "%s is too small", n.CIDR)
		}
		if n.MTU < minMTU || n.MTU > maxMTU {
			v.add(at+".mtu", fmt.Sprintf("from %d to %d", minMTU, maxMTU), "%d is out of range", n.MTU)
		}
		if v.has(at+".vlan") && n.VLAN < 1 || n.VLAN > maxVLAN {
			v.add(at+".vlan", fmt.Sprintf("from 1 to %d", maxVLAN), "%d is out of range", n.VLAN)
		} else if n.VLAN != 0 && n.Bridge == "" {
			v.add(at+".vlan", "name the bridge that carries it, such as bridge: br0", "%d is a VLAN of no bridge", n.VLAN)
		}
		if n.Bridge == "" {
			continue
		}
		way := n.Bridge
		if n.VLAN != 0 {
			way += fmt.Sprintf(", VLAN %d,", n.VLAN)
		}
		if !linkName.MatchString(n.Bridge) {
			v.add(at+".bridge", "such as br0; `ip link show type bridge` lists this machine's", "%q is no name of a link", n.Bridge)
		} else if first, again := joined[way]; again {
			v.add(at+".bridge", "a bridge for each, or a vlan", "%s is joined with networks[%d] already, and both would be one", way, first)
		} else {
			joined[way] = i
		}
	}
}

// cidr checks what holds for any IPv4 range of unicast addresses.
func (v *validator) cidr(field string, p netip.Prefix) bool {
	a := p.Addr()
	switch {
	case !p.IsValid():
		return false // told by the decoder
	case !a.Is4():
		v.add(field, "write an IPv4 CIDR", "%s is IPv6, which labs do not support yet", p)
	case p.Bits() < 8:
		v.add(field, "a /8 is the largest", "%s is too large", p)
	case p != p.Masked():
		v.add(field, fmt.Sprintf("did you mean %s?", p.Masked()), "%s has host bits set", p)
	case a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 240:
		v.add(field, "such as 172.30.0.0/24", "%s is not for machines to have", p)
	default:
		return true
	}
	return false
}

// overlaps tells of any two ranges that share addresses, at the later of the two that
// is in the file.
func (v *validator) overlaps() {
	type named struct {
		field string
		cidr  netip.Prefix
	}
	ranges := []named{
		{"kubernetes.podCIDR", v.lab.Kubernetes.PodCIDR},
		{"kubernetes.serviceCIDR", v.lab.Kubernetes.ServiceCIDR},
	}
	for i, n := range v.lab.Networks {
		ranges = append(ranges, named{fmt.Sprintf("networks[%d].cidr", i), n.CIDR})
	}
	for i, b := range ranges {
		for _, a := range ranges[:i] {
			if !a.cidr.IsValid() || !b.cidr.IsValid() || !a.cidr.Overlaps(b.cidr) {
				continue
			}
			at, other := b, a
			if v.has(a.field) && !v.has(b.field) {
				at, other = a, b
			}
			v.add(at.field, "move one of them", "%s overlaps %s (%s)", at.cidr, other.field, other.cidr)
		}
	}
}
