package observe_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// TestTargets: each way to name a destination leads to its address and to what is behind it.
func TestTargets(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s, ingresses := observetest.Shop(observetest.Healthy(plan))
	w := observetest.Snapshot(plan, plantest.Flannel(), s)
	for _, c := range []struct{ to, protocol, want string }{
		{"shop/web:80", "tcp", "service shop/web:80 10.96.7.7:80 > shop/web-a 10.244.2.60:8080"},
		{"shop/web:http", "tcp", "service shop/web:http 10.96.7.7:80 > shop/web-a 10.244.2.60:8080"},
		{"shop/web", "http", "service shop/web:80 10.96.7.7:80 > shop/web-a 10.244.2.60:8080"},
		{"shop/web:514", "udp", "service shop/web:514/udp 10.96.7.7:514 > shop/web-a 10.244.2.60:5514"},
		{"shop/web:514", "tcp", "service shop/web:514 !Service shop/web has no TCP port 514"},
		{"vip/shop/web:80", "tcp", "vip vip/shop/web:80 172.30.0.219:80 > shop/web-a 10.244.2.60:8080"},
		{"service/shop/nothing:80", "tcp", "service service/shop/nothing:80 !Service shop/nothing not found"},
		{"deployment/shop/web:http", "tcp", "pod shop/web-a:http@w2 10.244.2.60:8080 > shop/web-a 10.244.2.60:8080"},
		{"shop/frontend:8080", "tcp", "pod shop/frontend-a:8080@w1 10.244.1.51:8080 > shop/frontend-a 10.244.1.51:8080; pod shop/frontend-b:8080@w2 10.244.2.51:8080 > shop/frontend-b 10.244.2.51:8080"},
		{"pod/shop/frontend:8080", "tcp", "pod shop/frontend:8080 !pod shop/frontend not found, or it has no Pods"},
		{"shop/database:5432", "tcp", "service shop/database:5432 database.shop.svc.cluster.local:5432"},
		{"w1:22", "tcp", "node w1:22@w1 172.30.0.11:22 > w1 172.30.0.11:22"},
		{"host/client:8080", "tcp", "host host/client:8080 172.30.0.100:8080 > client 172.30.0.100:8080"},
		{"10.244.2.60:8080", "tcp", "address 10.244.2.60:8080 10.244.2.60:8080 > shop/web-a 10.244.2.60:8080"},
		{"172.30.0.219:80", "tcp", "address 172.30.0.219:80 172.30.0.219:80 > shop/web-a 10.244.2.60:8080"},
		{"192.0.2.1:80", "tcp", "address 192.0.2.1:80 192.0.2.1:80"},
		{"nosuch.example.test", "http", "address nosuch.example.test:80 nosuch.example.test:80"},
		{"ingress/nosuch.example.test", "http", "ingress ingress/nosuch.example.test:80 !no Ingress has host nosuch.example.test"},
		{"shop/web", "dns", "name shop/web web.shop.svc.cluster.local"},
		{"web.shop", "dns", "name web.shop web.shop"},
		{"netlab-verify/echo-w1:8080", "tcp", "pod netlab-verify/echo-w1:8080 !the Pods of Namespace netlab-verify are netlab's own"},
	} {
		p := labs.Path{From: "shop/frontend", To: c.to, Protocol: c.protocol}
		p.Fill()
		ends := s.Targets(plan, ingresses, w.Ingress, p)
		w.Ends = ends
		var got []string
		for r, e := range ends {
			line := r.Kind + " " + r.Name
			if r.Node != "" {
				line += "@" + r.Node
			}
			target, _, err := w.Address(observe.Ref{Kind: report.AtPod, Name: "shop/frontend-a", Node: "w1"}, r, c.protocol)
			if err != nil {
				got = append(got, line+" !"+err.Error())
				continue
			}
			line += " " + target
			for _, b := range e.Behind {
				name := b.Machine
				if b.Pod.UID != "" {
					name = b.Pod.Title()
				}
				line += fmt.Sprintf(" > %s %s:%d", name, b.IP, b.Port)
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s over %s is\n  %s, want\n  %s", c.to, c.protocol, text, c.want)
		}
	}
	p := labs.Path{From: "client", To: "shop.example.test", Protocol: "https"}
	p.Fill()
	for r, e := range s.Targets(plan, ingresses, w.Ingress, p) {
		if r.Kind != report.AtIngress || e.IP != w.Ingress.VIP || e.Name != "shop.example.test" || e.Port != 443 || len(e.Behind) == 0 {
			t.Errorf("a host of an Ingress is %+v %+v", r, e)
		}
	}
}

func TestSources(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s, _ := observetest.Shop(observetest.Healthy(plan))
	for from, want := range map[string]string{
		"shop/frontend":            "pod shop/frontend-a, pod shop/frontend-b",
		"deployment/shop/frontend": "pod shop/frontend-a, pod shop/frontend-b",
		"pod/shop/frontend-b":      "pod shop/frontend-b",
		"w1":                       "node w1",
		"client":                   "host client",
		"shop/web":                 "pod shop/web-a",
		"statefulset/shop/web":     "pod statefulset/shop/web !statefulset shop/web not found, or it has no Pods",
	} {
		var got []string
		for r, e := range s.Sources(plan, from) {
			line := r.Kind + " " + r.Name
			if e.Why != "" {
				line += " !" + e.Why
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s is %s, want %s", from, text, want)
		}
	}
	for _, p := range s.Pods {
		if p.Namespace == "shop" {
			p.Status.Conditions = nil
		}
	}
	for _, e := range s.Sources(plan, "shop/frontend") {
		if e.Why != "no Pod of workload or Pod shop/frontend is ready" {
			t.Errorf("Pods that are not ready: %+v", e)
		}
	}
}

// TestUsers: what is the user's is told apart from Kubernetes', netlab's and the components'.
func TestUsers(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s, _ := observetest.Shop(observetest.Healthy(plan))
	if got := strings.Join(s.UsersWorkloads(), " "); got != "shop/frontend shop/web" {
		t.Errorf("the user's workloads are %q", got)
	}
	var services []string
	for _, x := range s.UsersServices() {
		services = append(services, x.Name+"="+strings.Join(s.WorkloadsBehind(x), ","))
	}
	if got := strings.Join(services, " "); got != "web=shop/web database=" {
		t.Errorf("the user's Services are %q", got)
	}
}
