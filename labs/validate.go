package labs

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// validator finds the errors in a lab whose defaults are set. A field that the decoder could
// not read is already reported and counts as unset.
type validator struct {
	lab      Lab
	known    Known
	has      func(path string) bool // whether the file has a field
	reported func(path string) bool // whether a field, or one below it, has a problem
	problems Problems
}

// validate runs the further checks too, unless the lab has too many machines.
func (v *validator) validate(checks []Check) {
	v.header()
	v.cluster()
	v.sections()
	v.networks()
	v.nodes()
	v.hosts()
	v.overlaps()
	v.cni()
	v.loadBalancer()
	v.ingress()
	v.throughput()
	v.images()
	v.manifests()
	v.paths("verify.paths", v.lab.Verify.Paths)
	v.limits()
	if n := len(v.lab.Members()); n > maxMembers {
		v.add("nodes", fmt.Sprintf("use at most %d", maxMembers), "lab has %d machines (Nodes and hosts)", n)
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
	for _, f := range []struct{ name, value string }{
		{"apiVersion", APIVersion},
		{"kind", Kind},
	} {
		if !v.has(f.name) {
			v.add(f.name, "add "+f.name+": "+f.value, "is missing")
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
	v.add(field, labelHint(name, 63), "%q is not a DNS label", name)
}

// oneOf checks that a value is one of the known ones.
func (v *validator) oneOf(field, what, value string, known []string) bool {
	switch {
	case slices.Contains(known, value):
		return true
	case value == "":
		v.add(field, DidYouMean(value, known), "is missing")
	default:
		v.add(field, DidYouMean(value, known), "%q is not a %s", value, what)
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
	v.oneOf("provider", "known provider", v.lab.Provider, v.known.Providers)
	v.version("kubernetes.version", "Kubernetes", k.Version, v.known.Kubernetes)
	v.oneOf("kubernetes.proxy", "supported kube-proxy mode", k.Proxy, v.known.Kubernetes.Of(k.Version).Modes)
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
			v.add("kubernetes.podCIDR", "a /16 has room for 256", "%s has room for the /24s of %d Nodes, the lab has %d", k.PodCIDR, room, nodes)
		}
	}
	if v.cidr("kubernetes.serviceCIDR", k.ServiceCIDR) && (k.ServiceCIDR.Bits() < 12 || k.ServiceCIDR.Bits() > 24) {
		v.add("kubernetes.serviceCIDR", "must be /12 to /24, for example 10.96.0.0/16", "prefix length of %s is out of range", k.ServiceCIDR)
	}
}

// The minimum is that of IPv6 (RFC 8200), so that the MTU inside a CNI's tunnel stays above
// what hosts must accept (RFC 791); the maximum is the usual jumbo frame.
const minMTU, maxMTU = 1280, 9000

// maxVLAN is the highest VLAN ID that IEEE 802.1Q does not reserve.
const maxVLAN = 4094

// linkName is what Linux accepts as an interface name (IFNAMSIZ is 16), without characters
// that are special to a shell.
var linkName = regexp.MustCompile(`^[a-zA-Z0-9][-_.@a-zA-Z0-9]{0,14}$`)

func (v *validator) networks() {
	if len(v.lab.Networks) == 0 {
		v.add("networks", "remove the field to use the default lan and wan", "list is empty")
	}
	seen, joined := map[string]int{}, map[string]int{}
	for i, n := range v.lab.Networks {
		at := fmt.Sprintf("networks[%d]", i)
		v.label(at+".name", n.Name)
		if first, again := seen[n.Name]; again && n.Name != "" {
			v.add(at+".name", "network names must be unique", "duplicate name %s, first in networks[%d]", n.Name, first)
		} else {
			seen[n.Name] = i
		}
		if !n.CIDR.IsValid() {
			v.add(at+".cidr", "for example 172.30.0.0/24", "is missing")
		} else if v.cidr(at+".cidr", n.CIDR) && n.CIDR.Bits() > 29 {
			v.add(at+".cidr", "use a /29 or larger", "%s is too small", n.CIDR)
		}
		if n.MTU < minMTU || n.MTU > maxMTU {
			v.add(at+".mtu", fmt.Sprintf("must be between %d and %d", minMTU, maxMTU), "%d is out of range", n.MTU)
		}
		if v.has(at+".vlan") && n.VLAN < 1 || n.VLAN > maxVLAN {
			v.add(at+".vlan", fmt.Sprintf("must be between 1 and %d", maxVLAN), "%d is out of range", n.VLAN)
		} else if n.VLAN != 0 && n.Bridge == "" {
			v.add(at+".vlan", "set the bridge that carries it, for example bridge: br0", "VLAN %d requires a bridge", n.VLAN)
		}
		v.gateway(at+".gateway", n)
		v.impair(at+".impair", n.Impair)
		if n.Bridge == "" {
			continue
		}
		segment := n.Bridge
		if n.VLAN != 0 {
			segment += fmt.Sprintf(" VLAN %d", n.VLAN)
		}
		if !linkName.MatchString(n.Bridge) {
			v.add(at+".bridge", "for example br0; `ip link show type bridge` lists the bridges of this machine", "%q is not a valid interface name", n.Bridge)
		} else if first, again := joined[segment]; again {
			v.add(at+".bridge", "use another bridge or vlan", "%s is already used by networks[%d]", segment, first)
		} else {
			joined[segment] = i
		}
	}
}

// gateway checks the address of an existing router.
func (v *validator) gateway(field string, n Network) {
	switch {
	case !v.has(field) || !n.Gateway.IsValid() || !n.Usable():
	case n.Bridge == "":
		v.add(field, "set the bridge that the router is on, for example bridge: br0; or remove it and add a host with role router", "gateway requires a bridge")
	case !n.CIDR.Contains(n.Gateway):
		v.add(field, "use the router's address in this network", "%s is not in %s", n.Gateway, n.CIDR)
	case n.Gateway == n.CIDR.Addr() || n.Gateway == lastOf(n.CIDR):
		v.add(field, fmt.Sprintf("usable addresses: %s-%s", n.CIDR.Addr().Next(), lastOf(n.CIDR).Prev()), "%s is the network or broadcast address", n.Gateway)
	}
}

// impair checks the quality of links. Without a delay that can be read, nothing is said of the jitter.
func (v *validator) impair(field string, i Impairment) {
	for _, p := range i.Check() {
		if p.Field != "jitter" || !v.reported(field+".delay") {
			v.add(join(field, p.Field), p.Hint, "%s", p.What)
		}
	}
}

// cidr checks what holds for any IPv4 range of unicast addresses.
func (v *validator) cidr(field string, p netip.Prefix) bool {
	a := p.Addr()
	switch {
	case !p.IsValid():
		return false // reported by the decoder
	case !a.Is4():
		v.add(field, "use an IPv4 CIDR", "%s: IPv6 is not supported yet", p)
	case p.Bits() < 8:
		v.add(field, "use a /8 or smaller", "%s is too large", p)
	case p != p.Masked():
		v.add(field, fmt.Sprintf("did you mean %s?", p.Masked()), "%s has host bits set", p)
	case a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 240:
		v.add(field, "use another range, for example 172.30.0.0/24", "%s is reserved", p)
	default:
		return true
	}
	return false
}

// overlaps reports any two ranges that share addresses, at the later of those that the file
// sets.
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
			v.add(at.field, "change one of them", "%s overlaps %s (%s)", at.cidr, other.field, other.cidr)
		}
	}
}
