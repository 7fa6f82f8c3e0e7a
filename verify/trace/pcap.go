package trace

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netlab.dev/netlab/verify/agent"
)

// WritePcap writes the packets of a probe's whole conversation, from first to last, as
// pcapng. Each interface is one of the file's, named machine/interface.
func (c *Captures) WritePcap(w io.Writer, p Probe) error {
	type caught struct {
		place int
		link  agent.Link
		frame agent.Frame
	}
	var all []caught
	for _, x := range c.related(c.flows(p)) {
		for _, f := range x.frames {
			all = append(all, caught{x.place, x.link, f})
		}
	}
	slices.SortStableFunc(all, func(a, b caught) int { return cmp.Compare(a.frame.Nanos, b.frame.Nanos) })
	type from struct {
		place, link int
		raw         bool
	}
	ids := map[from]int{}
	var out *pcapgo.NgWriter
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "netlab"}}
	for _, x := range all {
		key := from{x.place, x.link.Index, x.frame.Raw}
		id, known := ids[key]
		if !known {
			i := pcapgo.NgInterface{Name: c.Places[x.place].name() + "/" + x.link.Name, OS: "Linux",
				LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
			if x.frame.Raw {
				i.LinkType = layers.LinkTypeRaw
			}
			var err error
			if out == nil {
				out, err = pcapgo.NewNgWriterInterface(w, i, options)
			} else {
				id, err = out.AddInterface(i)
			}
			if err != nil {
				return err
			}
			ids[key] = id
		}
		direction := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if x.frame.Out {
			direction.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, x.frame.Nanos), InterfaceIndex: id, CaptureLength: len(x.frame.Data), Length: max(x.frame.Length, len(x.frame.Data))}
		if err := out.WritePacketWithOptions(info, x.frame.Data, pcapgo.NgPacketOptions{Flags: &direction}); err != nil {
			return err
		}
	}
	if out == nil { // a file without packets is valid too
		var err error
		if out, err = pcapgo.NewNgWriterInterface(w, pcapgo.NgInterface{Name: c.Places[p.Place].name(), LinkType: layers.LinkTypeEthernet}, options); err != nil {
			return err
		}
	}
	return out.Flush()
}

// related finds all packets between the ports that the flows' packets had anywhere, and the
// flows' own packets without ports.
func (c *Captures) related(flows []flow) []*packet {
	type ends struct {
		protocol layers.IPProtocol
		a, b     netip.AddrPort
	}
	known := map[ends]bool{}
	own := map[*packet]bool{}
	for _, f := range flows {
		for _, p := range f.packets {
			own[p] = true
			if p.src.Port() != 0 {
				known[ends{p.protocol, p.src, p.dst}] = true
				known[ends{p.protocol, p.dst, p.src}] = true
			}
		}
	}
	var out []*packet
	for _, p := range c.packets {
		if own[p] || known[ends{p.protocol, p.src, p.dst}] {
			out = append(out, p)
		}
	}
	return out
}
