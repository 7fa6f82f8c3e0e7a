package components

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// balanced is a plan of two control planes behind a load balancer, with an internet host.
func balanced(c Catalog) topology.Plan {
	p := quickstart(c)
	p.Kubernetes.API = netip.MustParseAddrPort("172.30.0.9:6443")
	p.Names = map[string][]netip.Addr{"internet.outside.test": {netip.MustParseAddr("203.0.113.100")}}
	add := func(name, kind, role, address string, services ...topology.Service) {
		p.Machines = append(p.Machines, topology.Machine{Name: name, Kind: kind, Role: role, Services: services,
			NICs: []topology.NIC{{Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}}})
	}
	add("cp1", topology.KindNode, topology.RoleControlPlane, "172.30.0.10/24")
	add("cp2", topology.KindNode, topology.RoleControlPlane, "172.30.0.11/24")
	add("w1", topology.KindNode, topology.RoleWorker, "172.30.0.12/24")
	add("lb", topology.KindHost, topology.RoleAPILB, "172.30.0.9/24", topology.Service{Name: "agent"}, topology.Service{Name: "haproxy"})
	add("internet", topology.KindHost, topology.RoleInternet, "203.0.113.100/24", topology.Service{Name: "agent"}, topology.Service{Name: "outside-dns"})
	return p
}

func machine(t *testing.T, p topology.Plan, name string) topology.Machine {
	t.Helper()
	m, ok := p.Machine(name)
	if !ok {
		t.Fatalf("no machine %s", name)
	}
	return m
}

// A service's files, command and readiness follow from the plan and the host.
func TestHostService(t *testing.T) {
	c := load(t)
	p := balanced(c)
	render := func(service, host string) HostService {
		t.Helper()
		all, err := c[service][0].hostServices(p, machine(t, p, host))
		if err != nil || len(all) != 1 {
			t.Fatalf("%d programs (%v)", len(all), err)
		}
		return all[0]
	}
	haproxy := render("haproxy", "lb")
	config := haproxy.Files["/etc/haproxy/haproxy.cfg"]
	for _, want := range []string{"    bind 172.30.0.9:6443\n", "    server cp1 172.30.0.10:6443\n    server cp2 172.30.0.11:6443\n"} {
		if !strings.Contains(config, want) {
			t.Errorf("HAProxy's configuration lacks %q:\n%s", want, config)
		}
	}
	if strings.Contains(config, "172.30.0.12") {
		t.Errorf("a worker is a backend:\n%s", config)
	}
	if haproxy.Ready.TCP != "172.30.0.9:6443" {
		t.Errorf("HAProxy is ready on %+v", haproxy.Ready)
	}
	dns := render("outside-dns", "internet")
	if text := dns.Files["/etc/netlab/outside-dns.json"]; !strings.Contains(text, `"internet.outside.test": "203.0.113.100"`) || dns.Ready.UDP != "53" {
		t.Errorf("the names are %s, ready is %+v", text, dns.Ready)
	}
	if dns.Title == "" || !slices.Equal(dns.Listens, []uint16{53}) || haproxy.Title == "" || !slices.Equal(haproxy.Listens, []uint16{6443}) {
		t.Errorf("%q replies at %v, %q at %v", dns.Title, dns.Listens, haproxy.Title, haproxy.Listens)
	}
	set := resolve(t, c, p)
	if got := set.Support(Artifacts{}).Listeners; len(got) != 2 || got[netip.MustParseAddrPort("172.30.0.9:6443")] != haproxy.Title {
		t.Errorf("at the hosts' addresses reply %v", got)
	}
	agent := render("agent", "internet")
	if got := strings.Join(agent.Argv, " "); got != "/usr/local/bin/netlab agent serve --name internet --ip 203.0.113.100 --socket /run/netlab/agent.sock" {
		t.Errorf("the agent's command is %s", got)
	}
	if agent.Ready.Unix != "/run/netlab/agent.sock" {
		t.Errorf("the agent is ready on %+v", agent.Ready)
	}
}

// FRR's configuration follows from the router's sessions; its daemons start after zebra.
func TestFRR(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	router := topology.Machine{Name: "leaf", Kind: topology.KindHost, Role: topology.RoleRouter, Services: []topology.Service{{Name: "frr"}}, Routing: &topology.Routing{
		ASN: 64500, RouterID: address("10.1.0.1"), Announces: []netip.Prefix{prefix("10.1.0.0/24"), prefix("10.2.0.0/29")},
		Sessions: []topology.Session{
			{Peer: "one", ASN: 64502, Local: address("10.2.0.1"), Remote: address("10.2.0.2"), BFD: true},
			{Peer: "two", ASN: 64503, Local: address("10.2.0.1"), Remote: address("10.2.0.3")},
			{Peer: "w", Node: true, ASN: 64501, Local: address("10.1.0.1"), Remote: address("10.1.0.11")},
		}}}
	p.LoadBalancer.BGP = &topology.BGP{BGP: labs.BGP{HoldTime: labs.Duration{Duration: 20 * time.Second}, Password: "s3cret"}}
	p.Machines = append(p.Machines, router)
	set := resolve(t, c, p)
	services, err := set.HostServices(router)
	if err != nil || len(services) != 3 {
		t.Fatalf("%d programs (%v)", len(services), err)
	}
	for i, name := range []string{"zebra", "bfdd", "bgpd"} {
		s := services[i]
		if s.Name != name || s.Layer != "frr/frr" || !slices.Equal(s.Capabilities, []string{"CAP_SYS_ADMIN"}) || s.Ready.Unix != "/run/frr/"+name+".vty" || (s.After == "") != (name == "zebra") {
			t.Errorf("program %d is %+v", i, s)
		}
	}
	config := services[2].Files["/etc/frr/bgpd.conf"]
	for _, want := range []string{
		"hostname leaf\n", "\nrouter bgp 64500\n bgp router-id 10.1.0.1\n", " neighbor 10.2.0.2 remote-as 64502\n neighbor 10.2.0.2 description one\n",
		" neighbor 10.2.0.2 bfd profile lab\n neighbor 10.2.0.3 remote-as 64503\n", "  network 10.1.0.0/24\n  network 10.2.0.0/29\n  neighbor 10.2.0.2 activate\n",
		" neighbor 10.1.0.11 timers 3 20\n neighbor 10.1.0.11 password s3cret\n", // a Node opens the session
	} {
		if !strings.Contains(config, want) {
			t.Errorf("bgpd.conf lacks %q:\n%s", want, config)
		}
	}
	if strings.Contains(config, "10.2.0.3 bfd") {
		t.Errorf("a session without BFD has it:\n%s", config)
	}
}

// HAProxy on a host of role load-balancer forwards to the NodePorts of the Ingress controller on every
// worker, or on every Node of a lab without one.
func TestLoadBalancerByHand(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	p.Ingress.NodePorts = &labs.NodePorts{HTTP: 30080, HTTPS: 30443}
	node := func(name, role, address string) topology.Machine {
		return topology.Machine{Name: name, Kind: topology.KindNode, Role: role, NICs: []topology.NIC{{Addresses: []netip.Prefix{prefix(address)}}}}
	}
	lb := topology.Machine{Name: "lb", Kind: topology.KindHost, Role: topology.RoleLoadBalancer, Services: []topology.Service{{Name: "haproxy"}}}
	p.Machines = []topology.Machine{node("cp", topology.RoleControlPlane, "172.30.0.10/24"), node("w1", topology.RoleWorker, "172.30.0.11/24"),
		node("w2", topology.RoleWorker, "172.30.0.12/24"), lb}
	config := func() string {
		t.Helper()
		services, err := resolve(t, c, p).HostServices(lb)
		if err != nil || len(services) != 1 || !slices.Equal(services[0].Listens, []uint16{80, 443}) || services[0].Ready.TCP != "127.0.0.1:443" {
			t.Fatalf("services are %+v (%v)", services, err)
		}
		return services[0].Files["/etc/haproxy/haproxy.cfg"]
	}
	text := config()
	for _, want := range []string{
		"\nfrontend http\n    bind *:80\n    default_backend http\nbackend http\n", "\nfrontend https\n    bind *:443\n",
		"check port 30080 inter", "\n    server w1 172.30.0.11:30080\n    server w2 172.30.0.12:30080\nfrontend https", "\n    server w1 172.30.0.11:30443\n    server w2 172.30.0.12:30443\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("haproxy.cfg lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "send-proxy") {
		t.Errorf("the PROXY protocol was not asked for:\n%s", text)
	}
	p.Ingress.ProxyProtocol = true
	if text := config(); strings.Count(text, "shutdown-sessions send-proxy-v2 check-send-proxy\n") != 2 {
		t.Errorf("without the PROXY protocol:\n%s", text)
	}
	if strings.Contains(text, "172.30.0.10") || strings.Contains(text, "frontend api") {
		t.Errorf("haproxy.cfg has the control plane:\n%s", text)
	}
	p.Machines = append(p.Machines[:1], lb)
	if text := config(); strings.Count(text, "server cp 172.30.0.10:30") != 2 {
		t.Errorf("without workers haproxy.cfg is\n%s", text)
	}
}

// keepalived's configuration follows from the VIPs that a host shares: a load balancer's HAProxy must
// answer, a router's VIPs move together.
func TestKeepalived(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	p.Ingress.NodePorts = &labs.NodePorts{HTTP: 30080, HTTPS: 30443}
	host := func(role string, vips ...topology.SharedVIP) map[string]string {
		t.Helper()
		m := topology.Machine{Name: "x1", Kind: topology.KindHost, Role: role, VRRP: &topology.VRRP{Priority: 199, VIPs: vips}, Services: []topology.Service{{Name: "keepalived"}}}
		if role == topology.RoleLoadBalancer {
			m.Services = append(m.Services, topology.Service{Name: "haproxy"})
		}
		with := p
		with.Machines = append(slices.Clone(p.Machines), m)
		services, err := resolve(t, c, with).HostServices(m)
		if err != nil || services[0].Layer != "keepalived/keepalived" {
			t.Fatalf("services are %+v (%v)", services, err)
		}
		files := map[string]string{}
		for _, s := range services {
			maps.Copy(files, s.Files)
		}
		return files
	}
	lan := topology.SharedVIP{Network: "lan", NIC: "eth0", ID: 52, Address: address("172.30.0.90")}
	wan := topology.SharedVIP{Network: "wan", NIC: "eth1", ID: 51, Address: address("203.0.113.1")}
	const file = "/etc/keepalived/keepalived.conf"
	balancer, router := host(topology.RoleLoadBalancer, lan), host(topology.RoleRouter, lan, wan)
	for _, want := range []string{
		"vrrp_instance lan {\n    state BACKUP\n    interface eth0\n    virtual_router_id 52\n    priority 199\n", "        172.30.0.90/32\n    }\n    track_script {\n        haproxy\n    }\n}\n",
	} {
		if !strings.Contains(balancer[file], want) {
			t.Errorf("keepalived.conf of a load balancer lacks %q:\n%s", want, balancer[file])
		}
	}
	if text := balancer["/etc/haproxy/haproxy.cfg"]; !strings.Contains(text, "bind 127.0.0.1:8404\n") || !strings.Contains(balancer[file], "http://127.0.0.1:8404/") {
		t.Errorf("keepalived does not ask HAProxy:\n%s\n%s", text, balancer[file])
	}
	for _, want := range []string{"    interface eth1\n    virtual_router_id 51\n", "vrrp_sync_group all {\n    group {\n        lan\n        wan\n    }\n}\n"} {
		if !strings.Contains(router[file], want) {
			t.Errorf("keepalived.conf of a router lacks %q:\n%s", want, router[file])
		}
	}
	if strings.Contains(router[file], "script ") || strings.Contains(balancer[file], "sync_group") {
		t.Errorf("a router has a script, or a load balancer a group:\n%s\n%s", router[file], balancer[file])
	}
}

// Every outside host has an agent, from which probes are sent.
func TestAgentsOfHosts(t *testing.T) {
	services := load(t).Known().Services
	for _, role := range hostRoles() {
		if field := role == labs.FieldRouting || role == labs.FieldVRRP; !field && !slices.Contains(services[role], "agent") {
			t.Errorf("hosts with role %s run %v", role, services[role])
		}
	}
}

// A component of kind host belongs to a lab only where a host has a service of its name, and
// a service that no component runs is refused.
func TestResolveHostServices(t *testing.T) {
	c := load(t)
	names := func(p topology.Plan) (out []string) {
		t.Helper()
		for _, k := range resolve(t, c, p).Components {
			if k.Kind == KindHost {
				out = append(out, k.Name)
			}
		}
		return out
	}
	p := balanced(c)
	if got := names(p); !slices.Equal(got, []string{"haproxy", "outside-dns"}) {
		t.Errorf("the host services of two control planes are %v", got)
	}
	p.Machines = slices.DeleteFunc(p.Machines, func(m topology.Machine) bool { return m.Name == "lb" })
	if got := names(p); !slices.Equal(got, []string{"outside-dns"}) {
		t.Errorf("the host services without a load balancer are %v", got)
	}
	p.Machines[len(p.Machines)-1].Services = []topology.Service{{Name: "flannel"}}
	if _, err := c.Resolve(p); err == nil || !strings.Contains(err.Error(), `host internet: no component runs the service "flannel"`) {
		t.Errorf("a service that no component runs: %v", err)
	}
}

// Adding a host service is adding a folder; a mistake in it is found when it is read.
func TestServiceFolder(t *testing.T) {
	folder := func(service string) fstest.MapFS {
		return fstest.MapFS{"x/component.yaml": {Data: []byte("kind: host\nversion: v1\nabout: a\nsource: s\n" + service)}, "x/x.conf": {Data: []byte("{{ .Machine.Name }}\n")}}
	}
	good := "service:\n  hosts: [client]\n  title: X\n  listens: [\"{{ 80 }}\"]\n  files: {/etc/x.conf: x.conf}\n  command: [/bin/x]\n  ready: {command: [/bin/true, \"{{ .Machine.Name }}\"]}\n"
	c, err := Read(folder(good))
	if err != nil {
		t.Fatal(err)
	}
	all, err := c["x"][0].hostServices(topology.Plan{}, topology.Machine{Name: "m"})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d programs (%v)", len(all), err)
	}
	s := all[0]
	if s.Files["/etc/x.conf"] != "m\n" || !slices.Equal(s.Ready.Command, []string{"/bin/true", "m"}) {
		t.Errorf("it renders to %+v", s)
	}
	if s.Title != "X" || !slices.Equal(s.Listens, []uint16{80}) {
		t.Errorf("it replies as %q at %v", s.Title, s.Listens)
	}
	if got := c.Known().Services; len(got) != 1 || !slices.Equal(got["client"], []string{"x"}) {
		t.Errorf("hosts have the services %v", got)
	}
	for change, want := range map[[2]string]string{
		{"[client]", "[]"}:                     "requires hosts",
		{"[client]", "[worker]"}:               "\"worker\" is not a role of outside hosts",
		{"  title: X\n", ""}:                   "title and listens",
		{good, ""}:                             "has a service",
		{"[/bin/x]", "[x]"}:                    "absolute path",
		{"ready: {", "ready: {unix: /run/x, "}: "one of ready's",
		{"ready: {command: [/bin/true, \"{{ .Machine.Name }}\"]}", "ready: {}"}:                   "one of ready's",
		{"/etc/x.conf: x.conf", "/etc/x.conf: y.conf"}:                                            "y.conf",
		{"/etc/x.conf: x.conf", "etc/x.conf: x.conf"}:                                             "absolute path",
		{"  command", "  layer: base\n  command"}:                                                 "layer base",
		{"  command", "  programs: [{name: y}]\n  command"}:                                       "either command or programs",
		{good, "service: {hosts: [routing], programs: [{command: [/bin/x], ready: {udp: '7'}}]}"}: "a name of its own",
		{good, "service: {hosts: [client], programs: [{name: y, command: [/bin/x], ready: {udp: '7'}}, {name: y, command: [/z], ready: {udp: '7'}}]}"}: "a name of its own",
		{good, "service: {hosts: [client], programs: [{name: y, command: [x], ready: {udp: '7'}}]}"}:                                                   "absolute path",
	} {
		if _, err := Read(folder(strings.Replace(good, change[0], change[1], 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q for %q gives %v, want %q", change[1], change[0], err, want)
		}
	}
}
