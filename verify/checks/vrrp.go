package checks

import (
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// VRRPVIP is the path to a VIP that hosts share, as ARP resolves it.
const VRRPVIP = "vrrp-vip"

func vrrp() []Check {
	return []Check{{
		ID: VRRPVIP, Section: sectionRouting, Title: "outside host → VIP that routers or load balancers share by VRRP, by ARP",
		Rows:    sharedRows,
		Asserts: []Assertion{Holder{}},
	}}
}

// sharedRows ask for each VIP from the first outside host on its network that does not share it.
func sharedRows(l Lab) []Row {
	var out []Row
	for _, s := range l.Plan.Shared() {
		to := observe.Ref{Kind: report.AtAddress, Name: s.VIP.String()}
		i := slices.IndexFunc(l.Plan.Machines, func(m topology.Machine) bool {
			_, on := m.On(s.Network)
			return on && m.Kind == topology.KindHost && !slices.Contains(s.Hosts, m.Name)
		})
		if i < 0 {
			out = append(out, skip("outside host", to.Name, fmt.Sprintf("no other outside host is on network %s", s.Network))[0].over(agent.ARP))
			continue
		}
		r := reach(observe.AtHost(l.Plan.Machines[i]), to).over(agent.ARP)
		r.Peer = s.VIP
		out = append(out, r)
	}
	if out == nil {
		return []Row{skip("outside host", "VIP", "no hosts of the lab share a VIP")[0].over(agent.ARP)}
	}
	return out
}

// sharers are the hosts that share a VIP; false if it is none.
func sharers(plan topology.Plan, vip string) (topology.Sharers, bool) {
	all := plan.Shared()
	i := slices.IndexFunc(all, func(s topology.Sharers) bool { return s.VIP.String() == vip })
	if i < 0 {
		return topology.Sharers{}, false
	}
	return all[i], true
}

// Holder asserts that exactly one host holds a VIP: of those that are on, the one with the highest
// priority.
type Holder struct{ alone }

func (Holder) String() string {
	return "one host answers ARP for the VIP: of those that are on, the first in the lab file"
}

func (Holder) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	shared, _ := sharers(s.Plan, r.To.Name)
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	return equal(report.KeyVIPOwner, "holder of the VIP", shared.Holder(s.Off), strings.Join(owners(s, got[PartMain]), " and "))
}
