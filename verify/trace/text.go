package trace

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Lines formats evidence in lines of at most width columns, 80 or more: one line per hop, and
// below it what changed since the previous hop.
func (e Evidence) Lines(width int) []string {
	rows := [][]string{{"µs", "where", "interface", "", "packet", "source → destination"}}
	for _, h := range e.Hops {
		packet := h.Packet
		if h.Outer != nil {
			packet += " in " + h.Outer.Kind
		}
		rows = append(rows, []string{fmt.Sprint(h.Micros), or(h.Pod, h.Machine), h.Interface, h.Direction, packet, h.Source + " → " + h.Destination})
	}
	columns := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			columns[i] = max(columns[i], utf8.RuneCountInString(cell))
		}
	}
	var out []string
	// A line that is too long continues below its third column.
	indent := columns[0] + 2 + 2
	fits := len(columns) - 1
	for _, w := range columns {
		fits += w + 1
	}
	for i, r := range rows {
		if len(e.Hops) == 0 {
			break
		}
		line := strings.Repeat(" ", columns[0]-utf8.RuneCountInString(r[0])) + r[0]
		for k, cell := range r[1:5] {
			line += "  " + cell + strings.Repeat(" ", columns[k+1]-utf8.RuneCountInString(cell))
		}
		switch {
		case fits <= width:
			out = append(out, strings.TrimRight(line+"  "+r[5], " "))
		case i == 0:
			out = append(out, strings.TrimRight(line, " "))
		default:
			out = append(out, strings.TrimRight(line, " "), strings.Repeat(" ", indent)+r[5])
		}
		if i == 0 {
			continue
		}
		h := e.Hops[i-1]
		if peer := h.peerText(); peer != "" {
			if last := &out[len(out)-1]; utf8.RuneCountInString(*last)+2+utf8.RuneCountInString(peer) <= width {
				*last += "  " + peer
			} else {
				out = append(out, wrapped(peer, indent, width)...)
			}
		}
		for _, c := range h.Changes {
			text := c.What
			if c.By != "" {
				text += ", by " + c.By
			}
			out = append(out, wrapped(text, indent, width)...)
		}
	}
	if e.Lost != "" {
		out = append(out, hanging("lost: "+e.Lost, width)...)
	}
	for _, h := range e.Hidden {
		out = append(out, hanging("hidden: "+h, width)...)
	}
	if e.Pcap != "" {
		out = append(out, "packets: "+e.Pcap)
	}
	return out
}

// peerText is the Pod that a Node's veth leads to.
func (h Hop) peerText() string {
	switch {
	case h.Peer == "":
		return ""
	case h.Direction == In:
		return "from " + h.Peer
	}
	return "to " + h.Peer
}

// wrapped breaks the text of a change at spaces, after an arrow.
func wrapped(text string, indent, width int) []string {
	lines := breakAt(text, width-indent-2)
	for i := range lines {
		lines[i] = strings.Repeat(" ", indent) + []string{"↳ ", "  "}[min(i, 1)] + lines[i]
	}
	return lines
}

func hanging(text string, width int) []string {
	lines := breakAt(text, width-4)
	for i := range lines[1:] {
		lines[i+1] = "    " + lines[i+1]
	}
	return lines
}

func breakAt(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, word)
		default:
			*last += " " + word
		}
	}
	return lines
}
