package trace

import (
	"cmp"
	"slices"
)

// Every kernel has its own clock, and that of an emulated machine does not even run evenly.
// Packets that cross from one kernel to another show how their clocks compare.

// crossed reports whether a packet that left one kernel is the one that arrived at another.
func (c *Captures) crossed(left, came *packet) bool {
	return left.out && !came.out && left.macDst != nil && c.Places[left.place].Ready.Boot != c.Places[came.place].Ready.Boot &&
		left.src == came.src && left.dst == came.dst && left.macDst.String() == came.macDst.String()
}

// ordered returns the legs of a probe with their hops in order. What one kernel saw is
// ordered by its clock; for equal times the order of the place's ring decides. Between
// kernels cause precedes effect: where by the clocks a packet arrives before it left, the
// receiver's clock is late from there on.
func (c *Captures) ordered(flows []flow, clocks map[string]int64) []leg {
	legs := make([]leg, len(flows))
	var all []*seen
	came := map[*seen][]*seen{} // from the hops that a hop comes of
	for i, f := range flows {
		legs[i] = c.once(f, clocks)
		hops := legs[i].hops
		for j := range hops {
			all = append(all, &hops[j])
			for k := range hops {
				if c.crossed(hops[k].packet, hops[j].packet) {
					came[&hops[j]] = append(came[&hops[j]], &hops[k])
				}
			}
		}
	}
	byKernel := map[string][]*seen{}
	slices.SortStableFunc(all, func(a, b *seen) int { return cmp.Compare(a.at, b.at) })
	for _, s := range all {
		boot := c.Places[s.place].Ready.Boot
		byKernel[boot] = append(byKernel[boot], s)
	}
	late := map[string]int64{}
	rank := map[*packet]int{}
	done := map[*seen]bool{}
	for range all {
		next, ready := "", false
		for _, s := range all { // the first of each kernel that is left
			boot := c.Places[s.place].Ready.Boot
			if done[s] || byKernel[boot][0] != s {
				continue
			}
			free := !slices.ContainsFunc(came[s], func(from *seen) bool { return !done[from] })
			sooner := next == "" || s.at+late[boot] < byKernel[next][0].at+late[next]
			// One of the hops that wait for each other must be first.
			if next == "" || free && !ready || free == ready && sooner {
				next, ready = boot, free
			}
		}
		s := byKernel[next][0]
		byKernel[next] = byKernel[next][1:]
		s.at += late[next]
		for _, from := range came[s] {
			if done[from] && from.at > s.at {
				late[next] += from.at - s.at
				s.at = from.at
			}
		}
		done[s], rank[s.packet] = true, len(rank)
	}
	for _, l := range legs {
		slices.SortStableFunc(l.hops, func(a, b seen) int { return cmp.Compare(rank[a.packet], rank[b.packet]) })
	}
	return legs
}

// clocks returns for each kernel how far its clock is ahead of that of a place, in ns, as far
// as the packets that crossed between the two show: half of the difference between the two
// directions, as in NTP, or all of what one direction takes. Places of one kernel share its
// clock: their difference is 0.
func (c *Captures) clocks(home int, flows []flow) map[string]int64 {
	boot := func(place int) string { return c.Places[place].Ready.Boot }
	ahead := map[string]int64{boot(home): 0}
	type way struct{ from, to string }
	least := map[way]int64{} // shortest time from one kernel to another, by their own clocks
	for _, f := range flows {
		for _, left := range f.packets {
			for _, came := range f.packets {
				if !c.crossed(left, came) {
					continue
				}
				w, took := way{boot(left.place), boot(came.place)}, came.nanos-left.nanos
				if known, ok := least[w]; !ok || took < known {
					least[w] = took
				}
			}
		}
	}
	for range least { // each round reaches kernels one crossing further away
		for w, there := range least {
			from, known := ahead[w.from]
			if _, done := ahead[w.to]; !known || done {
				continue
			}
			ahead[w.to] = from + there
			if back, both := least[way{w.to, w.from}]; both {
				ahead[w.to] = from + (there-back)/2
			}
		}
		for w, there := range least { // only the way back was seen
			to, known := ahead[w.to]
			if _, done := ahead[w.from]; known && !done {
				if _, both := least[way{w.to, w.from}]; !both {
					ahead[w.from] = to - there
				}
			}
		}
	}
	return ahead
}
