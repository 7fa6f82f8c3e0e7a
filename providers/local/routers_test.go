package local

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/frr"
)

// routed gives the scene's hosts Debian, runc and the services of their roles, as far as the cache
// has them: there is no network here.
func (s *scene) routed() {
	s.Helper()
	refuse := s.Skipf
	if providertest.Alone() {
		refuse = s.Fatalf
	}
	if testing.Short() {
		s.Skip("starts routers: not with -short")
	}
	software := providertest.SoftwareOf(s.T, "/bin/true")        // netlab itself is not needed
	software.Cache.Sources = []artifacts.Source{artifacts.Build} // of what is cached
	set := components.Set{Plan: s.Plan}
	for _, name := range []string{"debian", "frr", "runc"} {
		k := software.Catalog[name][0]
		if name == "debian" {
			k.Images = []components.Image{{Name: "netlab.test/debian", Node: true, From: []string{"debian/base"}}}
		}
		set.Components = append(set.Components, k)
	}
	for i, m := range s.Plan.Machines {
		set.Plan.Machines[i].Services = slices.DeleteFunc(m.Services, func(x topology.Service) bool { return x.Name != "frr" })
	}
	obtained, err := software.Cache.Obtain(s.Context(), set, func(string) func(error) { return func(error) {} })
	if err != nil {
		refuse("requires Debian's base, FRR and runc in the cache: run `netlab build scenarios/spine-leaf.yaml` (%v)", err)
	}
	s.Artifacts.Rootfs, s.Artifacts.DebianBase, s.Artifacts.Programs = obtained.Rootfs, obtained.DebianBase, obtained.Programs
	for name, services := range obtained.Hosts {
		s.Artifacts.Hosts[name] = append(s.Artifacts.Hosts[name], services...)
	}
}

// output is what a command in a host prints.
func (s *scene) output(host string, argv ...string) string {
	s.Helper()
	out, err := s.host(host).Command(s.Context(), argv...).Output()
	if err != nil {
		s.Fatalf("%v on %s: %v\n%s", argv, host, err, out)
	}
	return string(out)
}

// learned are the routes by BGP in a router's kernel, as the plan's are written.
func (s *scene) learned(router string) string {
	s.Helper()
	var routes []struct {
		Dst      string
		Gateway  string
		Nexthops []struct{ Gateway string }
	}
	if err := json.Unmarshal([]byte(s.output(router, "ip", "-json", "route", "show", "proto", "bgp")), &routes); err != nil {
		s.Fatal(err)
	}
	var all []topology.LearnedRoute
	for _, r := range routes {
		to, err := netip.ParsePrefix(r.Dst)
		if err != nil {
			s.Fatal(err)
		}
		is := topology.LearnedRoute{To: to}
		for _, n := range append(r.Nexthops, struct{ Gateway string }{r.Gateway}) {
			if n.Gateway != "" {
				is.Via = append(is.Via, netip.MustParseAddr(n.Gateway))
			}
		}
		all = append(all, is)
	}
	return inWords(all)
}

func inWords(routes []topology.LearnedRoute) string {
	var lines []string
	for _, r := range routes {
		slices.SortFunc(r.Via, netip.Addr.Compare)
		lines = append(lines, fmt.Sprintf("%s via %s", r.To, r.Via))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// within waits until a router's routes are as wanted, and returns how long that took.
func (s *scene) within(limit time.Duration, router, want string) time.Duration {
	s.Helper()
	start := time.Now()
	for {
		is := s.learned(router)
		took := time.Since(start)
		if is == want {
			return took
		}
		if took > limit {
			s.Fatalf("after %s %s has the routes\n%s\nwant\n%s", took, router, is, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Routers with routing run FRR. What they learn is what the plan says, in their kernels too; flows
// are spread over all next hops; a spine that fails is noticed by BFD, and comes back.
func TestRouters(t *testing.T) {
	text, err := os.ReadFile("../../scenarios/spine-leaf.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "nlt-l-routers", func(l *labs.Lab) {
		known := providertest.SoftwareOf(t, "").Known()
		known.Providers = []string{"netns"}
		spec, err := labs.Load("spine-leaf.yaml", text, known)
		if err != nil {
			t.Fatal(err)
		}
		spec.Metadata = l.Metadata
		*l = spec
	})
	s.routed()
	s.start()
	for _, router := range s.Plan.WithRole(topology.RoleRouter) {
		took := s.within(20*time.Second, router.Name, inWords(s.Plan.Routes(nil).Learned(router.Name)))
		state := s.state(router.Name)
		if len(state.Sessions) != len(router.Routing.Sessions) {
			t.Errorf("%s has the sessions %+v", router.Name, state.Sessions)
		}
		for _, x := range state.Sessions {
			if x.State != frr.Established || x.Received == 0 || x.Sent == 0 || x.BFD == nil || x.Since.Before(time.Now().Add(-time.Minute)) {
				t.Errorf("%s: session %+v, BFD %+v", router.Name, x, x.BFD)
			}
		}
		t.Logf("%s has its routes after %s", router.Name, took)
	}
	if said := s.inspect(); said != "" {
		t.Errorf("as planned: %s", said)
	}
	if text := s.output("leaf1", "vtysh", "-c", "show bgp summary"); !strings.Contains(text, "local AS number 64500") || !strings.Contains(text, "spine2") {
		t.Errorf("vtysh says\n%s", text)
	}
	if log := mustRead(t, s.Dir+"/logs/leaf1/bgpd.log"); !strings.Contains(log, "neighbor 10.64.0.2") || !strings.Contains(log, "Up") {
		t.Errorf("bgpd.log is\n%s", log)
	}

	desk := netip.MustParseAddr("192.168.10.100")
	hops := map[string]int{}
	for port := range 64 { // the kernel's own choice for each flow
		way := s.output("leaf1", "ip", "route", "get", desk.String(), "from", "172.30.0.100", "iif", "eth0", "ipproto", "tcp", "sport", fmt.Sprint(20000+port), "dport", "80")
		_, via, _ := strings.Cut(way, " via ")
		hop, _, _ := strings.Cut(via, " ")
		hops[hop]++
	}
	if len(hops) != 2 || hops["10.64.0.2"] < 10 || hops["10.64.0.10"] < 10 {
		t.Errorf("64 flows go by %v", hops)
	}
	if text := s.output("leaf1", "cat", "/proc/sys/net/ipv4/conf/eth0/send_redirects", "/proc/sys/net/ipv4/conf/all/send_redirects"); text != "0\n0\n" {
		t.Errorf("leaf1 sends redirects: %q", text)
	}
	s.output("client", "ping", "-c", "1", "-W", "2", desk.String())

	all := inWords(s.Plan.Routes(nil).Learned("leaf1"))
	s.watched("leaf1")
	s.output("spine1", "ip", "link", "set", "eth0", "down") // leaf1 keeps its carrier, and TCP its connection
	took := s.within(3*time.Second, "leaf1", "10.64.0.16/29 via [10.64.0.10]\n10.64.0.24/29 via [10.64.0.10]\n192.168.10.0/24 via [10.64.0.10]\n203.0.113.0/24 via [10.64.0.10]")
	t.Logf("spine1 is routed around after %s", took)
	if x := s.state("leaf1").Sessions[0]; x.State == frr.Established || x.BFD.Status == frr.Up || x.BFD.Diagnostic != "control detection time expired" {
		t.Errorf("the session with spine1 is %+v, BFD %+v", x, x.BFD)
	}
	s.output("client", "ping", "-c", "1", "-W", "2", desk.String())
	s.output("spine1", "ip", "link", "set", "eth0", "up")
	t.Logf("spine1 is back after %s", s.within(20*time.Second, "leaf1", all))
}

// watched waits until BFD is up for each session of a router: before, it notices nothing, and it starts
// with a packet a second (RFC 5880, section 6.8.3).
func (s *scene) watched(router string) {
	s.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		sessions := s.state(router).Sessions
		if !slices.ContainsFunc(sessions, func(x frr.Session) bool { return x.BFD == nil || x.BFD.Status != frr.Up }) {
			s.Logf("BFD of %s is up after %s", router, time.Since(start))
			return
		}
		if time.Since(start) > 10*time.Second {
			s.Fatalf("BFD of %s is not up: %+v", router, sessions)
		}
	}
}

// state is what FRR says on a router.
func (s *scene) state(router string) frr.State {
	s.Helper()
	state, err := frr.Parse([]byte(s.output(router, frr.Command()...)))
	if err != nil {
		s.Fatal(err)
	}
	return state
}
