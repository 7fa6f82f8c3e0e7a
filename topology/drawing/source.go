package drawing

import (
	"fmt"
	"io"
	"strings"

	"netlab.dev/netlab/topology"
)

// Description describes the drawing as text, for screen readers.
func (d Drawing) Description() string {
	var parts []string
	for _, n := range d.plan.Networks {
		var on []string
		for _, m := range d.plan.Machines {
			for _, nic := range m.NICs {
				if nic.Network == n.Name {
					on = append(on, m.Name+" "+nic.Address().Addr().String())
				}
			}
		}
		worse := ""
		if !n.Impair.None() {
			worse = fmt.Sprintf(" (each link: %s)", n.Impair)
		}
		parts = append(parts, fmt.Sprintf("network %s %s%s: %s", n.Name, n.CIDR(), worse, strings.Join(on, ", ")))
	}
	return strings.Join(parts, "; ")
}

// Mermaid writes the drawing as a Mermaid flowchart (mermaid.js.org/syntax/flowchart.html).
func (d Drawing) Mermaid(w io.Writer) error {
	var b strings.Builder
	quote := func(lines ...string) string {
		// #quot; and #amp; are how Mermaid escapes inside quotes.
		return `"` + strings.NewReplacer("#", "#35;", `"`, "#quot;").Replace(strings.Join(lines, "<br>")) + `"`
	}
	ids := map[string]string{}
	for i, m := range d.plan.Machines {
		ids[m.Name] = fmt.Sprintf("m%d", i)
	}
	fmt.Fprintf(&b, "---\ntitle: %q\n---\nflowchart TB\n", d.Title)
	for i, n := range d.plan.Networks {
		lines := []string{n.Name, n.CIDR().String(), fmt.Sprintf("MTU %d", n.MTU)}
		if !n.Impair.None() {
			lines = append(lines, n.Impair.String())
		}
		fmt.Fprintf(&b, "  n%d([%s])\n", i, quote(lines...))
	}
	fmt.Fprintf(&b, "  subgraph cluster[%s]\n", quote("Kubernetes "+d.plan.Kubernetes.Version))
	for _, m := range d.plan.Nodes() {
		fmt.Fprintf(&b, "    %s[%s]\n", ids[m.Name], quote(m.Name, m.Role))
	}
	b.WriteString("  end\n")
	for _, m := range d.plan.Hosts() {
		fmt.Fprintf(&b, "  %s(%s)\n", ids[m.Name], quote(m.Name, m.Role))
	}
	for i, n := range d.plan.Networks {
		d.links(n, func(m topology.Machine, nic topology.NIC) {
			from, to := fmt.Sprintf("n%d", i), ids[m.Name]
			if m.Kind == topology.KindHost { // the outside above the cluster
				from, to = to, from
			}
			line := "---"
			if !n.Impair.None() {
				line = "-.-"
			}
			fmt.Fprintf(&b, "  %s %s|%s| %s\n", from, line, quote(nicText(nic)), to)
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DOT writes the drawing for Graphviz (graphviz.org/doc/info/lang.html).
func (d Drawing) DOT(w io.Writer) error {
	var b strings.Builder
	quote := func(lines ...string) string {
		return `"` + strings.ReplaceAll(strings.Join(lines, "\n"), `"`, `\"`) + `"`
	}
	label := func(lines ...string) string { return strings.ReplaceAll(quote(lines...), "\n", `\n`) }
	network := func(n topology.Network) string { return quote("network " + n.Name) }
	fmt.Fprintf(&b, "graph %s {\n", quote(d.plan.Lab.String()))
	fmt.Fprintf(&b, "  label=%s; labelloc=t; rankdir=TB; nodesep=0.5; ranksep=0.7;\n", label(d.Title))
	b.WriteString("  node [shape=box, style=rounded, fontname=monospace, fontsize=11];\n  edge [fontname=monospace, fontsize=9, color=gray50];\n")
	for _, n := range d.plan.Networks {
		lines := []string{n.Name, fmt.Sprintf("%s  MTU %d", n.CIDR(), n.MTU)}
		if !n.Impair.None() {
			lines = append(lines, n.Impair.String())
		}
		fmt.Fprintf(&b, "  %s [label=%s, shape=box, style=\"rounded,filled\", fillcolor=\"#e6edf4\", color=\"#e6edf4\", width=4];\n",
			network(n), label(lines...))
	}
	fmt.Fprintf(&b, "  subgraph cluster_nodes {\n    label=%s; style=dashed; color=gray60; fontname=monospace; fontsize=10;\n", label("Kubernetes "+d.plan.Kubernetes.Version))
	for _, m := range d.plan.Nodes() {
		fmt.Fprintf(&b, "    %s [label=%s];\n", quote(m.Name), label(m.Name, m.Role))
	}
	b.WriteString("  }\n")
	for _, m := range d.plan.Hosts() {
		fmt.Fprintf(&b, "  %s [label=%s];\n", quote(m.Name), label(m.Name, m.Role))
	}
	for _, n := range d.plan.Networks {
		d.links(n, func(m topology.Machine, nic topology.NIC) {
			from, to := network(n), quote(m.Name)
			if m.Kind == topology.KindHost {
				from, to = to, from
			}
			style := ""
			if !n.Impair.None() {
				style = ", style=dashed"
			}
			fmt.Fprintf(&b, "  %s -- %s [label=%s%s];\n", from, to, label(nic.Name, nic.Address().Addr().String()), style)
		})
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// links visits the NICs on a network, in the plan's order.
func (d Drawing) links(n topology.Network, visit func(topology.Machine, topology.NIC)) {
	for _, m := range d.plan.Machines {
		for _, nic := range m.NICs {
			if nic.Network == n.Name {
				visit(m, nic)
			}
		}
	}
}
