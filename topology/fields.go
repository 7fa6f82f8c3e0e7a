package topology

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// differing describes each field in which two values differ, by its path in their JSON:
// "kubernetes.version changes from v1.36.3 to v1.37.2".
func differing(path string, was, is any) []string {
	before, after := map[string]string{}, map[string]string{}
	flatten(path, generic(was), before)
	flatten(path, generic(is), after)
	all := maps.Clone(before)
	maps.Copy(all, after)
	var lines []string
	for _, field := range slices.Sorted(maps.Keys(all)) {
		from, had := before[field]
		to, has := after[field]
		switch {
		case !had:
			lines = append(lines, fmt.Sprintf("%s is set to %s", field, to))
		case !has:
			lines = append(lines, fmt.Sprintf("%s is removed (was %s)", field, from))
		case from != to:
			lines = append(lines, fmt.Sprintf("%s changes from %s to %s", field, from, to))
		}
	}
	return lines
}

// changed describes what differs between a machine and itself in another plan: NICs by their
// network, each as one text where the machine leaves the network or joins it.
func changed(was, is Machine, kept bool) []string {
	if !kept {
		return []string{"is removed"}
	}
	before, after := machineFields(was, is), machineFields(is, was)
	lines := differing("", before, after)
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], ".")
	}
	if len(lines) == 0 {
		return []string{"changes"} // what no lab file names
	}
	return lines
}

// machineFields are the fields of a machine that follow from the lab file.
func machineFields(m, other Machine) map[string]any {
	networks := map[string]any{}
	for _, nic := range m.NICs {
		if _, both := other.On(nic.Network); both {
			networks[nic.Network] = map[string]any{"nic": nic.Name, "addresses": nic.Addresses, "mtu": nic.MTU}
		} else {
			networks[nic.Network] = fmt.Sprintf("%s %s", nic.Name, nic.Address())
		}
	}
	var routes []string
	for _, r := range m.Routes {
		routes = append(routes, fmt.Sprintf("%s via %s", r.To, r.Via))
	}
	return map[string]any{"role": m.Role, "networks": networks, "routes": routes, "nameservers": m.Nameservers,
		"services": m.Services, "routing": m.Routing, "hypervisor": m.Remote, "ownKernel": m.OwnKernel}
}

// generic is a value as JSON has it. Whatever a Plan holds can be written as JSON.
func generic(v any) (out any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return fmt.Sprint(v)
	}
	return out
}

// flatten collects the fields of a value, lists as one field each. Empty ones are left out.
func flatten(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for key, value := range v {
			flatten(path+"."+key, value, into)
		}
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, fmt.Sprint(item))
		}
		if len(items) > 0 {
			into[path] = strings.Join(items, ", ")
		}
	default:
		if text := fmt.Sprint(v); text != "" {
			into[path] = text
		}
	}
}
