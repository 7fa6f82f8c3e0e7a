package trace

import (
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
)

// tunnel is an encapsulation over UDP that trace decodes.
type tunnel struct {
	link  string // netlink's kind of the interfaces that encapsulate and decapsulate
	port  int    // of UDP
	inner func(d *decoder, p *packet, at point, data []byte) *packet
}

// tunnels are the known encapsulations, by the kind in a component's supports.yaml. Packets
// of others are shown as they are on the wire.
func tunnels() map[string]tunnel {
	return map[string]tunnel{
		"vxlan": {link: "vxlan", inner: vxlan},
	}
}

func tunnelOf(e components.Encapsulation) tunnel {
	t := tunnels()[e.Kind]
	t.port = e.Port
	return t
}

// wraps reports whether a link encapsulates and decapsulates.
func (t tunnel) wraps(l agent.Link) bool { return t.link != "" && l.Kind == t.link }

// vxlan reads an Ethernet frame in VXLAN (RFC 7348, section 5).
func vxlan(d *decoder, p *packet, at point, data []byte) *packet {
	var v layers.VXLAN
	if v.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil || !v.ValidIDFlag {
		return nil
	}
	p.outer = &Outer{Kind: "VXLAN", VNI: int(v.VNI), Source: p.src.Addr().String(), Destination: p.dst.Addr().String()}
	at.inner = true
	return d.ethernet(p, at, v.Payload)
}
