package labs

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

func (v *validator) cni() {
	c := v.lab.CNI
	if !v.oneOf("cni.name", "known CNI", c.Name, names(v.known.CNIs)) {
		return
	}
	v.version("cni.version", c.Name, c.Version, v.known.CNIs[c.Name])
	choice := v.known.CNIs[c.Name].Of(c.Version)
	for _, option := range slices.Sorted(maps.Keys(c.Options)) {
		field := "cni.options." + option
		values, known := choice.Options[option]
		if !known {
			v.add(field, DidYouMean(option, slices.Sorted(maps.Keys(choice.Options))), "unknown option of %s", c.Name)
		} else if len(values) > 0 {
			v.oneOf(field, "supported "+option+" of "+c.Name, c.Options[option], values)
		}
	}
}

func (v *validator) loadBalancer() {
	lb := v.lab.LoadBalancer
	if !v.oneOf("loadBalancer.name", "known load balancer", lb.Name, append(names(v.known.LoadBalancers), None)) {
		return
	}
	if lb.Name == None {
		for _, field := range []string{"loadBalancer.version", "loadBalancer.mode", "loadBalancer.pools", "loadBalancer.bgp"} {
			if v.has(field) {
				v.add(field, "remove it", "requires a load balancer")
			}
		}
		return
	}
	v.version("loadBalancer.version", lb.Name, lb.Version, v.known.LoadBalancers[lb.Name])
	v.oneOf("loadBalancer.mode", "supported mode of "+lb.Name, lb.Mode, v.known.LoadBalancers[lb.Name].Of(lb.Version).Modes)
	v.bgp()
	if v.has("loadBalancer.pools") && len(lb.Pools) == 0 {
		v.add("loadBalancer.pools", "remove it to use the default pool", "list is empty")
	}
	var earlier []Pool
	for i, text := range lb.Pools {
		field := fmt.Sprintf("loadBalancer.pools[%d]", i)
		pool, err := ParsePool(text)
		if err != nil {
			example := "172.30.0.200-172.30.0.219"
			if ranges := v.lab.routedPools(); lb.Mode == ModeBGP && len(ranges) > 0 {
				example = ranges[0]
			}
			v.add(field, "for example "+example, "%s", err)
			continue
		}
		for j, other := range earlier {
			if pool.overlaps(other) {
				v.add(field, "pools must not overlap", "%s overlaps pools[%d]", text, j)
			}
		}
		earlier = append(earlier, pool)
		if lb.Mode == ModeBGP {
			v.poolApart(field, text, pool)
		} else {
			v.poolPlace(field, text, pool)
		}
	}
}

// poolPlace checks that Nodes can announce a pool's addresses, or the host that has them in mode external.
func (v *validator) poolPlace(field, text string, pool Pool) {
	for _, n := range v.lab.Networks {
		if !n.Usable() || !n.CIDR.Contains(pool.First) && !n.CIDR.Contains(pool.Last) {
			continue
		}
		hint := "use a network of the Nodes, or attach Nodes to this one"
		who, holds := "no Node", slices.ContainsFunc(v.lab.Nodes, func(g NodeGroup) bool { return slices.Contains(g.Networks, n.Name) })
		if v.lab.LoadBalancer.Mode == ModeExternal {
			hint = "use a network of the host with role " + RoleCloud + ", or attach it to this one"
			who, holds = "no host with role "+RoleCloud, slices.ContainsFunc(v.lab.Hosts, func(h Host) bool { return h.Role == RoleCloud && slices.Contains(h.Networks, n.Name) })
		}
		switch {
		case !n.CIDR.Contains(pool.First) || !n.CIDR.Contains(pool.Last):
			v.add(field, "use a range inside the network", "%s exceeds network %s (%s)", text, n.Name, n.CIDR)
		case pool.Contains(n.CIDR.Addr()) || pool.Contains(lastOf(n.CIDR)):
			v.add(field, fmt.Sprintf("usable addresses: %s-%s", n.CIDR.Addr().Next(), lastOf(n.CIDR).Prev()),
				"%s covers the network or broadcast address of %s (%s)", text, n.Name, n.CIDR)
		case !holds:
			v.add(field, hint, "%s is in network %s, where %s can announce it", text, n.Name, who)
		}
		return
	}
	if v.reported("networks") {
		return
	}
	v.add(field, "use a range inside one network", "%s is not in any network of the lab", text)
}

func (v *validator) ingress() {
	in := v.lab.Ingress
	if !v.oneOf("ingress.name", "known Ingress controller", in.Name, append(names(v.known.Ingresses), None)) {
		return
	}
	if in.Name == None {
		for _, field := range []string{"ingress.version", "ingress.service", "ingress.nodePorts", "ingress.proxyProtocol"} {
			if v.has(field) {
				v.add(field, "remove it", "requires an Ingress controller")
			}
		}
		if v.lab.has(RoleLoadBalancer) {
			v.add("ingress.name", "remove the hosts with role load-balancer, or set it", "%s, and hosts with role %s would have nothing to forward to", None, RoleLoadBalancer)
		}
		return
	}
	v.version("ingress.version", in.Name, in.Version, v.known.Ingresses[in.Name])
	v.oneOf("ingress.service", "supported Service type of "+in.Name, in.Service, v.known.Ingresses[in.Name].Of(in.Version).Modes)
	if in.Service == "LoadBalancer" && v.lab.LoadBalancer.Name == None {
		v.add("ingress.service", "use NodePort, or set loadBalancer", "LoadBalancer requires a load balancer")
	}
	if in.ProxyProtocol && !v.lab.has(RoleLoadBalancer) {
		v.add("ingress.proxyProtocol", "add one, or remove it", "requires a host with role %s, which speaks it", RoleLoadBalancer)
	}
	if p := in.NodePorts; p != nil {
		for _, port := range []struct {
			field  string
			number int
		}{{"http", p.HTTP}, {"https", p.HTTPS}} {
			if port.number < minNodePort || port.number > maxNodePort {
				v.add("ingress.nodePorts."+port.field, fmt.Sprintf("must be between %d and %d", minNodePort, maxNodePort), "%d is out of range", port.number)
			}
		}
		if p.HTTP == p.HTTPS {
			v.add("ingress.nodePorts.https", "use another port", "%d is also the port of http", p.HTTPS)
		}
	}
}

// The range of NodePorts, as Kubernetes has it (--service-node-port-range).
const (
	minNodePort = 30000
	maxNodePort = 32767
)

const (
	maxRepeats = 100
	// A control plane of a lab without anything else uses 400 MB and 150 threads.
	minLimitMemory    = gib
	minLimitProcesses = 1000
)

func (v *validator) limits() {
	if l := v.lab.Limits; l.Memory != 0 && l.Memory < minLimitMemory {
		v.add("limits.memory", "use at least "+minLimitMemory.String(), "%s is too small for a lab", l.Memory)
	}
	if l := v.lab.Limits; l.Processes != 0 && l.Processes < minLimitProcesses {
		v.add("limits.processes", fmt.Sprintf("use at least %d", minLimitProcesses), "%d is too small for a lab", l.Processes)
	}
}

func (v *validator) throughput() {
	const at = "verify.throughput."
	t := v.lab.Verify.Throughput
	switch d := t.Duration.Duration; {
	case d < time.Second || d > 10*time.Minute:
		v.add(at+"duration", "must be between 1s and 10m", "%s is out of range", d)
	case d%time.Second != 0:
		v.add(at+"duration", "for example "+d.Round(time.Second).String(), "%s is not a whole number of seconds", d)
	}
	if t.Repeats < 1 || t.Repeats > maxRepeats {
		v.add(at+"repeats", fmt.Sprintf("must be between 1 and %d", maxRepeats), "%d is out of range", t.Repeats)
	}
	if len(t.Streams) == 0 {
		v.add(at+"streams", "for example [1, 4]", "list is empty")
	}
	for i, n := range t.Streams {
		field := fmt.Sprintf("%sstreams[%d]", at, i)
		if n < 1 || n > 64 {
			v.add(field, "must be between 1 and 64", "%d is out of range", n)
		} else if slices.Contains(t.Streams[:i], n) {
			v.add(field, "remove one", "%d is listed twice", n)
		}
	}
}
