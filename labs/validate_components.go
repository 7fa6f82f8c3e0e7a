package labs

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

func (v *validator) cni() {
	c := v.lab.CNI
	if !v.oneOf("cni.name", "CNI this netlab has", c.Name, names(v.known.CNIs)) {
		return
	}
	v.version("cni.version", c.Name, c.Version, v.known.CNIs[c.Name])
	choice := v.known.CNIs[c.Name].Of(c.Version)
	for _, option := range slices.Sorted(maps.Keys(c.Options)) {
		field := "cni.options." + option
		values, known := choice.Options[option]
		if !known {
			v.add(field, didYouMean(option, slices.Sorted(maps.Keys(choice.Options))), "%s has no such option", c.Name)
		} else if len(values) > 0 {
			v.oneOf(field, "value of "+option+" in "+c.Name, c.Options[option], values)
		}
	}
}

func (v *validator) loadBalancer() {
	lb := v.lab.LoadBalancer
	if !v.oneOf("loadBalancer.name", "load balancer this netlab has", lb.Name, append(names(v.known.LoadBalancers), None)) {
		return
	}
	if lb.Name == None {
		for _, field := range []string{"loadBalancer.version", "loadBalancer.mode", "loadBalancer.pools"} {
			if v.has(field) {
				v.add(field, "leave it out", "means nothing without a load balancer")
			}
		}
		return
	}
	v.version("loadBalancer.version", lb.Name, lb.Version, v.known.LoadBalancers[lb.Name])
	v.oneOf("loadBalancer.mode", "mode of "+lb.Name, lb.Mode, v.known.LoadBalancers[lb.Name].Of(lb.Version).Modes)
	if v.has("loadBalancer.pools") && len(lb.Pools) == 0 {
		v.add("loadBalancer.pools", "leave it out for a default one", "there is no pool")
	}
	var earlier []Pool
	for i, text := range lb.Pools {
		field := fmt.Sprintf("loadBalancer.pools[%d]", i)
		pool, err := ParsePool(text)
		if err != nil {
			v.add(field, "such as 172.30.0.200-172.30.0.219", "%s", err)
			continue
		}
		for j, other := range earlier {
			if pool.overlaps(other) {
				v.add(field, "keep them apart", "%s overlaps pools[%d]", text, j)
			}
		}
		earlier = append(earlier, pool)
		v.poolPlace(field, text, pool)
	}
}

// poolPlace checks that Nodes can answer for a pool's addresses.
func (v *validator) poolPlace(field, text string, pool Pool) {
	for _, n := range v.lab.Networks {
		if !n.Usable() || !n.CIDR.Contains(pool.First) && !n.CIDR.Contains(pool.Last) {
			continue
		}
		onIt := func(g NodeGroup) bool { return slices.Contains(g.Networks, n.Name) }
		switch {
		case !n.CIDR.Contains(pool.First) || !n.CIDR.Contains(pool.Last):
			v.add(field, "keep it inside", "%s reaches out of network %s (%s)", text, n.Name, n.CIDR)
		case pool.Contains(n.CIDR.Addr()) || pool.Contains(lastOf(n.CIDR)):
			v.add(field, fmt.Sprintf("machines' addresses are %s-%s", n.CIDR.Addr().Next(), lastOf(n.CIDR).Prev()),
				"%s covers the network or broadcast address of %s (%s)", text, n.Name, n.CIDR)
		case !slices.ContainsFunc(v.lab.Nodes, onIt):
			v.add(field, "move it, or put Nodes there", "%s is in network %s, where no Node would answer for it", text, n.Name)
		}
		return
	}
	if v.told("networks") {
		return
	}
	v.add(field, "take a range inside one network", "%s is in no network of the lab", text)
}

func (v *validator) ingress() {
	in := v.lab.Ingress
	if !v.oneOf("ingress.name", "Ingress controller this netlab has", in.Name, append(names(v.known.Ingresses), None)) {
		return
	}
	if in.Name == None {
		for _, field := range []string{"ingress.version", "ingress.service"} {
			if v.has(field) {
				v.add(field, "leave it out", "means nothing without an Ingress controller")
			}
		}
		return
	}
	v.version("ingress.version", in.Name, in.Version, v.known.Ingresses[in.Name])
	v.oneOf("ingress.service", "type of Service for "+in.Name, in.Service, v.known.Ingresses[in.Name].Of(in.Version).Modes)
	if in.Service == "LoadBalancer" && v.lab.LoadBalancer.Name == None {
		v.add("ingress.service", "write NodePort, or name a loadBalancer", "LoadBalancer, in a lab without a load balancer")
	}
}

const maxRepeats = 100

func (v *validator) throughput() {
	const at = "verify.throughput."
	t := v.lab.Verify.Throughput
	switch d := t.Duration.Duration; {
	case d < time.Second || d > 10*time.Minute:
		v.add(at+"duration", "from 1s to 10m", "%s is out of range", d)
	case d%time.Second != 0:
		v.add(at+"duration", "such as "+d.Round(time.Second).String(), "%s is no whole number of seconds", d)
	}
	if t.Repeats < 1 || t.Repeats > maxRepeats {
		v.add(at+"repeats", fmt.Sprintf("from 1 to %d", maxRepeats), "%d is out of range", t.Repeats)
	}
	if len(t.Streams) == 0 {
		v.add(at+"streams", "such as [1, 4]", "there is none")
	}
	for i, n := range t.Streams {
		field := fmt.Sprintf("%sstreams[%d]", at, i)
		if n < 1 || n > 64 {
			v.add(field, "from 1 to 64", "%d is out of range", n)
		} else if slices.Contains(t.Streams[:i], n) {
			v.add(field, "keep one", "%d is listed twice", n)
		}
	}
}
