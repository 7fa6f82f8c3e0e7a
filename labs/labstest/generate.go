package labstest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"netlab.dev/netlab/labs"
)

// object is a mapping of a lab file.
type object = map[string]any

// Generate returns a valid lab file as people write them, without its name, the same for a
// seed: a router or two, networks that no router joins, clients behind two hops or beside the
// Nodes' second NIC, pools in networks that only some Nodes are on, unusual CIDRs and MTUs,
// names of up to 63 characters.
func Generate(seed uint64, known labs.Known) string {
	g := generator{Rand: rand.New(rand.NewPCG(seed, 14)), long: seed%5 == 0}
	lab := object{"apiVersion": labs.APIVersion, "kind": labs.Kind}
	g.cluster(lab, known)
	g.network("lan", 28)
	g.network("wan", 29)
	g.nodes(lab)
	g.hosts(lab)
	g.pools(lab)
	lab["networks"] = g.networks
	var out strings.Builder
	for _, field := range slices.Sorted(maps.Keys(lab)) {
		text, err := json.Marshal(lab[field]) // YAML too
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "%s: %s\n", field, text)
	}
	return out.String()
}

type generator struct {
	*rand.Rand
	long     bool
	free     []string // base addresses of networks
	networks []object
	cidrs    map[string]string // by network
	bits     map[string]int
	on       map[string]int // machines on a network
	nodesOn  map[string]bool
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// cluster chooses the CNI, its options, kube-proxy's mode, and the CIDRs.
func (g *generator) cluster(lab object, known labs.Known) {
	name := pick(g, slices.Sorted(maps.Keys(known.CNIs))...)
	options := map[string]string{}
	of := known.CNIs[name][0].Options
	for _, option := range slices.Sorted(maps.Keys(of)) {
		if values := of[option]; len(values) > 0 && option != "iptables" && option != "l7Proxy" {
			options[option] = pick(g, values...)
		}
	}
	proxy := pick(g, "nftables", "iptables")
	if options["kubeProxyReplacement"] == "true" {
		proxy = "none"
	}
	lab["cni"] = object{"name": name, "options": options}
	pods := pick(g, "10.244.0.0/16", "192.168.0.0/16", "100.96.0.0/16", "198.19.0.0/20")
	services := pick(g, "10.96.0.0/16", "10.96.0.0/24", "172.20.0.0/20", "198.19.128.0/24")
	lab["kubernetes"] = object{"proxy": proxy, "podCIDR": pods, "serviceCIDR": services}
	g.free = []string{"10.1.0", "172.30.0", "192.168.50", "100.64.7", "198.18.3", "203.0.113", "10.200.4", "172.16.9"}
	if strings.HasPrefix(pods, "192.168") {
		g.free = slices.DeleteFunc(g.free, func(n string) bool { return strings.HasPrefix(n, "192.168") })
	}
	g.Shuffle(len(g.free), func(i, j int) { g.free[i], g.free[j] = g.free[j], g.free[i] })
	g.cidrs, g.bits, g.on, g.nodesOn = map[string]string{}, map[string]int{}, map[string]int{}, map[string]bool{}
}

// network adds a network of an unused range, not smaller than smallest.
func (g *generator) network(name string, smallest int) string {
	bits := min(pick(g, 24, 24, 25, 28, 29), smallest)
	g.cidrs[name], g.bits[name], g.free = g.free[0], bits, g.free[1:]
	n := object{"name": name, "cidr": fmt.Sprintf("%s.0/%d", g.cidrs[name], bits)}
	if g.chance(50) {
		n["mtu"] = pick(g, 1280, 1400, 1450, 1500, 1501, 4321, 9000)
	}
	g.networks = append(g.networks, n)
	return name
}

func (g *generator) attach(networks ...string) []string {
	for _, n := range networks {
		g.on[n]++
	}
	return networks
}

func (g *generator) called(name string) string {
	if g.long {
		name += "-" + strings.Repeat("long", 16)[:62-len(name)]
	}
	return name
}

// nodes are one control plane and up to two workers, all on the LAN; some on networks of their
// own.
func (g *generator) nodes(lab object) {
	var seconds []string
	for _, n := range []string{"storage", "dmz"}[:g.IntN(3)] {
		seconds = append(seconds, g.network(n, 29))
	}
	nodes := []object{}
	for i := range 1 + g.IntN(3) {
		on := []string{"lan"}
		for _, n := range seconds {
			if g.chance(60) {
				on = append(on, n)
				g.nodesOn[n] = true
			}
		}
		node := object{"name": g.called(fmt.Sprintf("w%d", i)), "role": labs.RoleWorker, "networks": g.attach(on...)}
		if i == 0 {
			node["name"], node["role"] = g.called("cp"), labs.RoleControlPlane
		}
		nodes = append(nodes, node)
	}
	lab["nodes"] = nodes
}

// hosts are routers of some of the networks, and clients on any.
func (g *generator) hosts(lab object) {
	hosts := []object{}
	host := func(name, role string, on ...string) {
		hosts = append(hosts, object{"name": g.called(name), "role": role, "networks": g.attach(on...)})
	}
	has := func(n string) bool { return g.cidrs[n] != "" }
	joined := []string{"lan"}
	if has("storage") && g.chance(30) {
		joined = []string{"storage"} // the router is not on the Nodes' first network
	}
	if has("dmz") && g.chance(70) {
		joined = append(joined, "dmz")
	}
	host("router", labs.RoleRouter, append(joined, "wan")...)
	if g.chance(40) { // behind a second router, that the first one leads to or not
		between := pick(g, "wan", g.network("transit", 29))
		host("router2", labs.RoleRouter, between, g.network("office", 29))
		if between == "transit" && g.chance(70) {
			hosts[0]["networks"] = append(hosts[0]["networks"].([]string), g.attach("transit")...)
		}
		host("desk", labs.RoleClient, "office")
	}
	for _, n := range []string{"lan", "storage", "dmz"} {
		if has(n) && g.chance(60) {
			host("at-"+n, labs.RoleClient, n)
		}
	}
	if g.chance(70) {
		host("internet", labs.RoleInternet, "wan")
	}
	lab["hosts"] = hosts
}

// pools are ranges at the end of networks with Nodes; without any in the file there is the
// default one.
func (g *generator) pools(lab object) {
	var pools []string
	for _, n := range []string{"dmz", "lan", "storage"} {
		size := 1 << (32 - g.bits[n])
		last := size - 2
		if n != "lan" && !g.nodesOn[n] || g.on[n] > last/2 || !g.chance(50) {
			continue
		}
		first := max(last-size/8, g.on[n]+1)
		if size == 256 {
			first, last = 200, 219
		}
		pools = append(pools, fmt.Sprintf("%s.%d-%s.%d", g.cidrs[n], first, g.cidrs[n], last))
	}
	if len(pools) > 0 {
		lab["loadBalancer"] = object{"pools": pools}
	} else if g.bits["lan"] > 24 && g.on["lan"] >= (1<<(32-g.bits["lan"]))*3/4-1 {
		lab["loadBalancer"] = object{"name": labs.None}
	}
}
