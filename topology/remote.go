package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"netlab.dev/netlab/labs"
)

// Remotes returns the URIs of the hypervisors on other machines that run Nodes, in order.
func (p Plan) Remotes() []string {
	var all []string
	for _, m := range p.Machines {
		if m.Remote != "" && !slices.Contains(all, m.Remote) {
			all = append(all, m.Remote)
		}
	}
	slices.Sort(all)
	return all
}

// LocalVMs reports whether Nodes run on this machine's hypervisor.
func (p Plan) LocalVMs() bool {
	return slices.ContainsFunc(p.Machines, func(m Machine) bool { return m.OwnKernel && m.Remote == "" })
}

// On reports whether a network has Nodes on a hypervisor of another machine.
func (p Plan) On(network, hypervisor string) bool {
	return slices.ContainsFunc(p.Machines, func(m Machine) bool {
		return m.Remote == hypervisor && slices.ContainsFunc(m.NICs, func(n NIC) bool { return n.Network == network })
	})
}

// At returns the part of a plan that is created on another hypervisor's machine, as a plan of
// that machine: its Nodes, as local virtual machines, and their networks.
func (p Plan) At(hypervisor string) Plan {
	part := Plan{Lab: p.Lab, Provider: p.Provider}
	for _, n := range p.Networks {
		if p.On(n.Name, hypervisor) {
			n.Uplink, n.VLAN = "", 0
			part.Networks = append(part.Networks, n)
		}
	}
	for _, m := range p.Machines {
		if m.Remote == hypervisor {
			m.Remote = ""
			part.Machines = append(part.Machines, m)
		}
	}
	return part
}

// remote returns the URI of the hypervisor of a Node that runs on another machine.
func (b *builder) remote(m labs.Member) (string, error) {
	if !m.Node || !b.lab.Traits().Remote {
		return "", nil
	}
	place, err := b.lab.Sections[b.lab.Provider].Place(m.Hypervisor)
	return place.URI, err
}

// stretch assigns a VNI of 24 bits (RFC 7348, section 5) to each network with Nodes on other
// machines: a placeholder, the same in every run, for WithVNIs.
func (b *builder) stretch() {
	used := map[int]bool{0: true}
	for i, n := range b.plan.Networks {
		if !slices.ContainsFunc(b.plan.Remotes(), func(h string) bool { return b.plan.On(n.Name, h) }) {
			continue
		}
		for salt := 0; used[n.VNI]; salt++ {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", b.lab.Metadata.Name, n.Name, salt))
			n.VNI = int(binary.BigEndian.Uint32(sum[:]) >> 8)
		}
		used[n.VNI] = true
		b.plan.Networks[i] = n
	}
}

// WithVNIs returns the plan with the VNIs of the running lab, and others for networks that it does not
// stretch: random ones, so that labs of other machines, which have equal names, neither meet nor guess
// them. Those of Build only show that a network has one.
func (p Plan) WithVNIs(runs Plan, random func() uint32) Plan {
	was, used := map[string]int{}, map[int]bool{0: true}
	for _, n := range runs.Networks {
		was[n.Name], used[n.VNI] = n.VNI, true
	}
	p.Networks = slices.Clone(p.Networks)
	for i, n := range p.Networks {
		if n.VNI == 0 {
			continue
		}
		vni := was[n.Name]
		for used[vni] && was[n.Name] == 0 {
			vni = int(random() >> 8)
		}
		used[vni], p.Networks[i].VNI = true, vni
	}
	return p
}
