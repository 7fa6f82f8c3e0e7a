package labs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	fromHint = "from is NAMESPACE/NAME of a workload or Pod, a Node or an outside host"
	toHint   = "to is NAMESPACE/NAME:PORT of a Service or workload, vip/NAMESPACE/NAME, ingress/HOST, a Node, an outside host, an address or a DNS name"
)

// PathProblems are those of a list of paths in a lab, whose defaults are set. field is where the
// list is, and reported reports whether a field, or one below it, has a problem already.
func (l Lab) PathProblems(field string, list []Path, reported func(field string) bool) Problems {
	v := validator{lab: l, reported: reported}
	v.paths(field, list)
	return v.problems
}

// paths checks a list of the user's own paths.
func (v *validator) paths(list string, all []Path) {
	if len(all) > maxPaths {
		v.add(list, fmt.Sprintf("use at most %d", maxPaths), "list has %d paths", len(all))
		return
	}
	seen := map[Path]int{}
	for i, p := range all {
		at := fmt.Sprintf("%s[%d]", list, i)
		if first, again := seen[p]; again {
			v.add(at, "remove one", "is the same as %s[%d]", list, first)
			continue
		}
		seen[p] = i
		if !v.reported(at + ".from") {
			v.pathFrom(at+".from", p)
		}
		if !v.reported(at + ".to") {
			v.pathTo(at+".to", p)
		}
		if v.oneOf(at+".protocol", "supported protocol", p.Protocol, pathProtocols()) {
			v.pathExpects(at, p)
		}
	}
}

func (v *validator) pathFrom(field string, p Path) {
	if p.From == "" {
		v.add(field, fromHint, "is missing")
		return
	}
	e, err := ParseEnd(p.From)
	switch {
	case err != nil:
		v.add(field, fromHint, "%q %v", p.From, err)
	case !e.Probes():
		v.add(field, fromHint, "no path starts at %s", p.From)
	case e.Port != "":
		v.add(field, "remove :"+e.Port, "%q has a port", p.From)
	default:
		v.machineEnd(field, e)
	}
}

func (v *validator) pathTo(field string, p Path) {
	if p.To == "" {
		v.add(field, toHint, "is missing")
		return
	}
	e, err := ParseEnd(p.To)
	switch {
	case err != nil:
		v.add(field, toHint, "%q %v", p.To, err)
	case p.Protocol == PathDNS:
		if e.Kind != EndName && e.Kind != EndObject && e.Kind != EndService {
			v.add(field, "for example web.shop.svc.cluster.local, or shop/web for a Service's name", "%q is not a name that DNS answers", p.To)
		}
		if e.Port != "" {
			v.add(field, "remove :"+e.Port, "a DNS name has no port")
		}
	case e.Port == "" && !p.web() && slices.Contains(pathProtocols(), p.Protocol):
		v.add(field, fmt.Sprintf("for example %s:80", p.To), "%s requires a port", p.Protocol)
	case e.Kind == EndIngress && !p.web():
		v.add(field, "use protocol http or https", "a host of an Ingress is not reached by %s", p.Protocol)
	default:
		v.machineEnd(field, e)
	}
}

// machineEnd checks that an end which is a machine is one of the lab's.
func (v *validator) machineEnd(field string, e End) {
	if e.Kind != EndMachine && e.Kind != EndNode && e.Kind != EndHost {
		return
	}
	var known []string
	for _, m := range v.lab.Members() {
		if e.Kind == EndMachine || m.Node == (e.Kind == EndNode) {
			known = append(known, m.Name)
		}
	}
	if !slices.Contains(known, e.Name) {
		what := map[string]string{EndMachine: "machine", EndNode: "Node", EndHost: "outside host"}[e.Kind]
		v.add(field, DidYouMean(e.Name, known), "the lab has no %s %s", what, e.Name)
	}
}

// pathExpects checks the fields that depend on the protocol.
func (v *validator) pathExpects(at string, p Path) {
	expect := string(p.Expect)
	switch n, err := strconv.Atoi(expect); {
	case expect == Reachable || expect == Denied:
	case err == nil && !p.web():
		v.add(at+".expect", "use protocol http or https", "a status is not what %s answers", p.Protocol)
	case err == nil && (n < 100 || n > 599):
		v.add(at+".expect", "must be between 100 and 599", "%d is not an HTTP status", n)
	case err == nil:
	case slices.Contains(responseCodes(), expect) && p.Protocol != PathDNS:
		v.add(at+".expect", "use protocol dns", "a response code is not what %s answers", p.Protocol)
	case slices.Contains(responseCodes(), expect):
	default:
		v.add(at+".expect", "use reachable, denied, an HTTP status or one of "+strings.Join(responseCodes(), ", "), "%q is not an expectation", expect)
	}
	if p.Source != "" && v.oneOf(at+".source", "source that can be seen", p.Source, []string{SourcePreserved, SourceNode}) {
		switch {
		case p.Expect == Denied:
			v.add(at+".source", "remove it", "a path that is denied shows no source")
		case p.Protocol == PathDNS:
			v.add(at+".source", "remove it", "is not seen of protocol dns")
		}
	}
	switch {
	case p.Certificate == "":
	case p.Protocol != PathHTTPS:
		v.add(at+".certificate", "use protocol https, or remove it", "%s has none", p.Protocol)
	case p.Expect == Denied:
		v.add(at+".certificate", "remove it", "a path that is denied shows no certificate")
	}
	for _, f := range []struct{ name, value string }{{"host", p.Host}, {"path", p.Path}} {
		if f.value != "" && !p.web() {
			v.add(at+"."+f.name, "use protocol http or https, or remove it", "%s has none", p.Protocol)
		}
	}
	if p.web() && !strings.HasPrefix(p.Path, "/") {
		v.add(at+".path", "for example /"+p.Path, "%q does not start with /", p.Path)
	}
	if d := p.Within.Duration; (d < 10*time.Millisecond || d > maxPathTimeout) && !v.reported(at+".within") {
		v.add(at+".within", fmt.Sprintf("must be between 10ms and %s", maxPathTimeout), "%s is out of range", d)
	}
}
