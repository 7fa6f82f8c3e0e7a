package labs

import (
	"fmt"
	"slices"
)

// formerAPILB is how files wrote the role api-lb.
const formerAPILB = "loadbalancer"

// Notes lists the old spellings in a lab file, which Load accepts, with the new ones as
// their hints. A file that cannot be read has none.
func Notes(filename string, data []byte) Problems {
	var lab Lab
	d, _ := decode(data, Kind, &lab)
	if d == nil {
		return nil
	}
	for _, i := range lab.respell() {
		field := fmt.Sprintf("hosts[%d].role", i)
		d.notes = append(d.notes, Problem{Line: d.lineOf(field), Field: field,
			What: fmt.Sprintf("%q is deprecated", formerAPILB), Hint: "write " + RoleAPILB})
	}
	notes := d.notes.sorted()
	for i := range notes {
		notes[i].File = filename
	}
	return notes
}

// respell puts new values in the place of old ones and gives the hosts that had one.
func (l *Lab) respell() (hosts []int) {
	for i := range l.Hosts {
		if l.Hosts[i].Role == formerAPILB {
			l.Hosts[i].Role = RoleAPILB
			hosts = append(hosts, i)
		}
	}
	return hosts
}

// renamed notes a field with an old name and gives the new one. It is a problem
// where the mapping has both.
func (d *decoder) renamed(e entry, path, name string, entries []entry) string {
	if i := slices.IndexFunc(entries, func(o entry) bool { return o.key == name }); i >= 0 {
		d.at(e.node, join(path, e.key), "keep "+name, "given twice, as %s in line %d too", name, entries[i].node.GetToken().Position.Line)
		return name
	}
	d.notes = append(d.notes, Problem{Line: e.node.GetToken().Position.Line, Field: join(path, e.key), What: "is deprecated", Hint: "write " + name})
	return name
}
