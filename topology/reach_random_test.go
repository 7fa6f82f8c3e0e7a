package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

// Random labs build or are rejected with a problem, and the result of Reach for each pair of
// addresses equals that of a packet that is forwarded hop by hop.
func TestReachAgreesWithPackets(t *testing.T) {
	const seeds = 2000
	built, reachable, not := 0, 0, 0
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 7))
		plan, err := anyPlan(r)
		if err != nil {
			if problems := (labs.Problems)(nil); !errors.As(err, &problems) {
				t.Fatalf("seed %d: %v is not a problem of the lab", seed, err)
			}
			continue
		}
		built++
		plan = reroute(r, plan)
		for range 12 {
			from, to := plan.Machines[r.IntN(len(plan.Machines))], anyAddress(r, plan)
			way := Reach(plan, from.Name, to)
			if again := Reach(plan, from.Name, to); !reflect.DeepEqual(way, again) {
				t.Fatalf("seed %d: Reach(%s, %s) differs from itself: %+v, %+v", seed, from.Name, to, way, again)
			}
			want := newPacketWorld(plan).exchange(from.Name, to)
			got := exchange{ok: way.Reachable()}
			if way.Reachable() {
				reachable++
				got.source, got.mtu, got.crossed = way.Source, way.MTU, len(way.There)
			} else {
				not++
			}
			if got != want {
				t.Fatalf("seed %d: %s to %s: Reach says %+v (%+v), packets say %+v\n%s", seed, from.Name, to, got, way, want, asJSON(plan))
			}
		}
	}
	t.Logf("%d labs built, %d refused; %d ways, %d none", built, seeds-built, reachable, not)
	if built < seeds/3 || built > seeds*19/20 || reachable < seeds || not < seeds {
		t.Errorf("the labs are of too few kinds: %d built, %d ways, %d none", built, reachable, not)
	}
}

// anyPlan generates a random lab file, valid or not, and builds it.
func anyPlan(r *rand.Rand) (Plan, error) {
	type m map[string]any
	var networks, nodes, hosts []m
	names := []string{"a", "b", "c", "d", "e"}[:1+r.IntN(5)]
	for i, n := range names {
		network := m{"name": n, "cidr": fmt.Sprintf("10.%d.0.0/%d", i+1, []int{24, 24, 25, 28, 29}[r.IntN(5)])}
		if r.IntN(2) == 0 {
			network["mtu"] = 1280 + r.IntN(7000)
		}
		if r.IntN(8) == 0 {
			network["bridge"] = fmt.Sprintf("br%d", i)
		}
		networks = append(networks, network)
	}
	some := func(first string) []string {
		out := []string{}
		for _, i := range r.Perm(len(names))[:r.IntN(min(3, len(names))+1)] {
			if names[i] != first {
				out = append(out, names[i])
			}
		}
		if first != "" {
			return append([]string{first}, out...)
		}
		return append(out, names[r.IntN(len(names))])[:max(1, len(out))]
	}
	nodes = append(nodes, m{"name": "cp", "role": RoleControlPlane, "networks": some("a")})
	for i := range r.IntN(3) {
		nodes = append(nodes, m{"name": fmt.Sprintf("w%dn", i), "role": RoleWorker, "count": 1 + r.IntN(3), "networks": some("a")})
	}
	free := slices.Clone(names)
	r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	for i := 0; len(free) >= 2 && r.IntN(4) > 0; i++ {
		take := min(2+r.IntN(2), len(free))
		hosts, free = append(hosts, m{"name": fmt.Sprintf("r%d", i), "role": RoleRouter, "networks": free[:take]}), free[take:]
	}
	for i := range r.IntN(4) {
		hosts = append(hosts, m{"name": fmt.Sprintf("c%d", i), "role": RoleClient, "networks": some("")})
	}
	lab := m{"apiVersion": labs.APIVersion, "kind": labs.Kind, "metadata": m{"name": "random"},
		"networks": networks, "nodes": nodes, "hosts": append([]m{}, hosts...)}
	if r.IntN(3) == 0 {
		n := 1 + r.IntN(len(names))
		lab["loadBalancer"] = m{"pools": []string{fmt.Sprintf("10.%d.0.%d-10.%d.0.%d", n, 4+r.IntN(20), n, 60+r.IntN(20))}}
	}
	text, err := json.Marshal(lab)
	if err != nil {
		return Plan{}, err
	}
	return Load("random.yaml", text, labstest.Known())
}

// reroute returns some machines what lab files do not support yet: static routes, forwarding, an
// MTU of a single NIC.
func reroute(r *rand.Rand, plan Plan) Plan {
	return plan.edit(func(m *Machine) {
		m.Routes, m.NICs = slices.Clone(m.Routes), slices.Clone(m.NICs)
		if r.IntN(5) == 0 {
			m.Forward = !m.Forward
		}
		if r.IntN(5) == 0 {
			m.NICs[r.IntN(len(m.NICs))].MTU = 1280 + r.IntN(1000)
		}
		for range r.IntN(3) {
			to := netip.PrefixFrom(anyAddress(r, plan), []int{0, 8, 16, 24, 32}[r.IntN(5)]).Masked()
			nic := m.NICs[r.IntN(len(m.NICs))]
			for _, other := range plan.Machines {
				for _, o := range other.NICs {
					if o.Network == nic.Network && other.Name != m.Name && r.IntN(3) == 0 {
						m.Routes = append(m.Routes, Route{To: to, Via: o.Address().Addr()})
					}
				}
			}
		}
	})
}

func anyAddress(r *rand.Rand, plan Plan) netip.Addr {
	switch pools := plan.LoadBalancer.Pools; {
	case r.IntN(6) == 0 && len(pools) > 0:
		return pools[r.IntN(len(pools))].First.Next()
	case r.IntN(6) == 0:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(7)), 0, byte(r.IntN(256))})
	}
	nics := plan.Machines[r.IntN(len(plan.Machines))].NICs
	return nics[r.IntN(len(nics))].Address().Addr()
}

// packetWorld sends packets on, one machine at a time, knowing nothing but each machine's
// table of routes and who has which address where.
type packetWorld struct {
	plan   Plan
	tables map[string]map[netip.Prefix]step // machine → destination → where to
	has    map[string]map[netip.Addr]string // network → address → machine
	mtu    map[string]int                   // "machine network" → NIC's MTU
}

type step struct {
	network string
	via     netip.Addr // invalid: the destination itself
	source  netip.Addr
}

type exchange struct {
	ok           bool
	source       netip.Addr
	mtu, crossed int
}

func newPacketWorld(plan Plan) packetWorld {
	w := packetWorld{plan, map[string]map[netip.Prefix]step{}, map[string]map[netip.Addr]string{}, map[string]int{}}
	for _, m := range plan.Machines {
		table := map[netip.Prefix]step{}
		for _, nic := range m.NICs {
			table[nic.Address().Masked()] = step{network: nic.Network, source: nic.Address().Addr()}
			if w.has[nic.Network] == nil {
				w.has[nic.Network] = map[netip.Addr]string{}
			}
			w.has[nic.Network][nic.Address().Addr()] = m.Name
			w.mtu[m.Name+" "+nic.Network] = nic.MTU
		}
		for _, r := range m.Routes {
			if _, taken := table[r.To]; taken {
				continue
			}
			for _, nic := range m.NICs {
				if nic.Address().Masked().Contains(r.Via) {
					table[r.To] = step{nic.Network, r.Via, nic.Address().Addr()}
				}
			}
		}
		w.tables[m.Name] = table
	}
	return w
}

func (w packetWorld) next(machine string, to netip.Addr) (step, bool) {
	for bits := 32; bits >= 0; bits-- {
		if s, ok := w.tables[machine][netip.PrefixFrom(to, bits).Masked()]; ok {
			return s, true
		}
	}
	return step{}, false
}

// send returns who gets a packet ("" for none), the MTU it passed and the networks crossed.
func (w packetWorld) send(from string, to netip.Addr) (takers []string, mtu, crossed int) {
	at, mtu := from, 1<<16
	for ttl := 64; ttl > 0; ttl-- {
		s, ok := w.next(at, to)
		if !ok {
			return nil, 0, 0
		}
		network, _ := w.plan.Network(s.network)
		mtu = min(mtu, network.MTU, w.mtu[at+" "+s.network])
		crossed++
		hop := to
		if s.via.IsValid() {
			hop = s.via
		}
		who := w.has[s.network][hop]
		if who == "" {
			if hop != to {
				return nil, 0, 0
			}
			return w.unowned(network, to), mtu, crossed
		}
		mtu = min(mtu, w.mtu[who+" "+s.network])
		m, _ := w.plan.Machine(who)
		for _, nic := range m.NICs {
			if nic.Address().Addr() == to {
				return []string{who}, mtu, crossed
			}
		}
		if !m.Forward {
			return nil, 0, 0
		}
		at = who
	}
	return nil, 0, 0
}

// beyond stands for a machine on a real LAN.
const beyond = "(beyond)"

func (w packetWorld) unowned(network Network, to netip.Addr) (takers []string) {
	for _, pool := range w.plan.LoadBalancer.Pools {
		if to.Compare(pool.First) >= 0 && to.Compare(pool.Last) <= 0 {
			for _, who := range w.has[network.Name] {
				if m, _ := w.plan.Machine(who); m.Kind == KindNode {
					takers = append(takers, who)
				}
			}
			return takers
		}
	}
	if network.Uplink != "" {
		return []string{beyond}
	}
	return nil
}

func (w packetWorld) exchange(from string, to netip.Addr) exchange {
	m, _ := w.plan.Machine(from)
	for _, nic := range m.NICs {
		if nic.Address().Addr() == to {
			return exchange{true, to, 1 << 16, 0}
		}
	}
	takers, mtu, crossed := w.send(from, to)
	if len(takers) == 0 {
		return exchange{}
	}
	first, _ := w.next(from, to)
	for _, taker := range takers {
		switch {
		case taker == from:
		case taker == beyond:
			if crossed > 1 {
				return exchange{}
			}
		default:
			if back, _, _ := w.send(taker, first.source); len(back) != 1 || back[0] != from {
				return exchange{}
			}
		}
	}
	return exchange{true, first.source, mtu, crossed}
}

func asJSON(plan Plan) string {
	text, err := json.MarshalIndent(plan.Machines, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
