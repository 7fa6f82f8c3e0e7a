package labs

import (
	"fmt"
	"slices"
)

// formerAPILB is the deprecated spelling of the role api-lb.
const formerAPILB = "loadbalancer"

// Notes lists the deprecated spellings in a lab file, which Load accepts, with the current
// ones as hints. It returns none for a file that cannot be read.
func Notes(filename string, data []byte) Problems {
	var lab Lab
	d, _ := decode(data, Kind, &lab)
	if d == nil {
		return nil
	}
	for _, i := range lab.respell() {
		field := fmt.Sprintf("hosts[%d].role", i)
		d.notes = append(d.notes, Problem{Line: d.lineOf(field), Field: field,
			What: fmt.Sprintf("%q is deprecated", formerAPILB), Hint: "use " + RoleAPILB})
	}
	notes := d.notes.sorted()
	for i := range notes {
		notes[i].File = filename
	}
	return notes
}

// respell replaces deprecated values and returns the indexes of the hosts that had one.
func (l *Lab) respell() (hosts []int) {
	for i := range l.Hosts {
		if l.Hosts[i].Role == formerAPILB {
			l.Hosts[i].Role = RoleAPILB
			hosts = append(hosts, i)
		}
	}
	return hosts
}

// renamed records a field with a deprecated name and returns the current name. A mapping
// with both is a problem.
func (d *decoder) renamed(e entry, path, name string, entries []entry) string {
	if i := slices.IndexFunc(entries, func(o entry) bool { return o.key == name }); i >= 0 {
		d.at(e.node, join(path, e.key), "keep "+name, "duplicates %s in line %d", name, entries[i].node.GetToken().Position.Line)
		return name
	}
	d.notes = append(d.notes, Problem{Line: e.node.GetToken().Position.Line, Field: join(path, e.key), What: "is deprecated", Hint: "use " + name})
	return name
}
