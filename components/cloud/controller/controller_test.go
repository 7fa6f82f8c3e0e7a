package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"netlab.dev/netlab/components/cloud/balancer"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// twoPools has two VIPs on one network and one on another.
func twoPools() Config {
	return Config{Host: "cloud", Namespace: "cloud-system", Lease: "cloud-controller-manager", Pools: []Pool{
		{Name: "lab", NIC: "eth0", Ranges: []Range{{addr("203.0.113.200"), addr("203.0.113.201")}}},
		{Name: "lab-dmz", NIC: "eth1", Ranges: []Range{{addr("192.0.2.7"), addr("192.0.2.7")}}}}}
}

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// service is a Service of type LoadBalancer with TCP port 80, later ones with a higher number; change changes it.
func service(number int, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d", number), CreationTimestamp: metav1.NewTime(born.Add(time.Duration(number) * time.Second))},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: int32(30000 + number)}}}}
	if change != nil {
		change(s)
	}
	return s
}

func node(name, address string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}}}
}

// cloud is a controller over a cluster of two workers and an excluded control plane.
type cloud struct {
	*controller
	t      *testing.T
	target balancer.Target
	before func(balancer.Target) error // asked when a Target is set
	events *record.FakeRecorder
}

func newCloud(t *testing.T, objects ...runtime.Object) *cloud {
	objects = append(objects, node("cp", "172.30.0.10", map[string]string{corev1.LabelNodeExcludeBalancers: ""}), node("w1", "172.30.0.11", nil), node("w2", "172.30.0.12", nil))
	events := record.NewFakeRecorder(100)
	c := &cloud{t: t, events: events, before: func(balancer.Target) error { return nil }}
	c.controller = &controller{client: fake.NewClientset(objects...), config: twoPools(), events: events, say: t.Logf, said: map[string]string{},
		set: func(_ context.Context, b balancer.Target) error {
			if err := c.before(b); err != nil {
				return err
			}
			c.target = b
			return nil
		}}
	return c
}

func (c *cloud) passes() {
	c.t.Helper()
	if err := c.pass(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) get(name string) *corev1.Service {
	c.t.Helper()
	s, err := c.client.CoreV1().Services("shop").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cloud) update(s *corev1.Service) {
	c.t.Helper()
	if _, err := c.client.CoreV1().Services("shop").Update(c.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// vip is the address in a Service's status, "" for none.
func (c *cloud) vip(name string) string {
	c.t.Helper()
	ingress := c.get(name).Status.LoadBalancer.Ingress
	if len(ingress) == 0 {
		return ""
	}
	if ingress[0].IPMode == nil || *ingress[0].IPMode != corev1.LoadBalancerIPModeProxy || len(ingress) != 1 {
		c.t.Errorf("status of %s: %+v", name, ingress)
	}
	return ingress[0].IP
}

// heard are the events since it was called last.
func (c *cloud) heard() (all []string) {
	for {
		select {
		case e := <-c.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

// A Service gets its finalizer, then the load balancer, then the status; when it leaves, the load balancer goes before
// the finalizer. A second pass changes nothing.
func TestLifeOfAService(t *testing.T) {
	c := newCloud(t, service(1, nil))
	c.before = func(b balancer.Target) error {
		if !slices.Contains(c.get("s1").Finalizers, finalizer) || c.vip("s1") != "" {
			t.Errorf("when the load balancer is made the Service is %+v", c.get("s1"))
		}
		return nil
	}
	c.passes()
	if got := c.vip("s1"); got != "203.0.113.200" {
		t.Fatalf("the VIP is %q", got)
	}
	want := balancer.Target{Nodes: []balancer.Node{{Name: "w1", Address: addr("172.30.0.11")}, {Name: "w2", Address: addr("172.30.0.12")}},
		Balancers: []balancer.Balancer{{Service: "shop/s1", VIP: addr("203.0.113.200"), NIC: "eth0",
			Listeners: []balancer.Listener{{Protocol: "tcp", Port: 80, NodePort: 30001, Check: balancer.Check{Port: 30001}}}}}}
	if got, wanted := text(t, c.target), text(t, want); got != wanted {
		t.Errorf("the target is\n%s, want\n%s", got, wanted)
	}
	if got := c.heard(); len(got) != 2 || got[0] != "Normal EnsuringLoadBalancer Ensuring load balancer" || got[1] != "Normal EnsuredLoadBalancer Ensured load balancer" {
		t.Errorf("events: %q", got)
	}
	c.before = func(balancer.Target) error { return nil }
	c.passes()
	if got := c.heard(); len(got) != 0 {
		t.Errorf("events of a pass without a change: %q", got)
	}

	s := c.get("s1")
	s.Spec.Type = corev1.ServiceTypeClusterIP
	c.update(s)
	c.before = func(b balancer.Target) error {
		if len(b.Balancers) != 0 || !slices.Contains(c.get("s1").Finalizers, finalizer) {
			t.Errorf("the finalizer goes before the load balancer")
		}
		return nil
	}
	c.passes()
	if s := c.get("s1"); len(s.Finalizers) != 0 || c.vip("s1") != "" {
		t.Errorf("a Service without a load balancer: %+v", s)
	}
	if got := strings.Join(c.heard(), "; "); got != "Normal DeletingLoadBalancer Deleting load balancer; Normal DeletedLoadBalancer Deleted load balancer" {
		t.Errorf("events: %s", got)
	}
}

// While the load balancer cannot be set, no Service gets a status or loses its finalizer.
func TestBalancerAway(t *testing.T) {
	gone := metav1.NewTime(born)
	c := newCloud(t, service(1, nil), service(2, func(s *corev1.Service) { s.Finalizers, s.DeletionTimestamp = []string{finalizer}, &gone }))
	c.before = func(balancer.Target) error { return errors.New("connection refused") }
	if err := c.pass(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatal(err)
	}
	if c.vip("s1") != "" || !slices.Contains(c.get("s2").Finalizers, finalizer) {
		t.Error("a Service has a VIP in its status although the load balancer was not configured")
	}
	c.before = func(balancer.Target) error { return nil }
	c.passes()
	if c.vip("s1") == "" {
		t.Error("no VIP after the load balancer came")
	}
	if s, err := c.client.CoreV1().Services("shop").Get(t.Context(), "s2", metav1.GetOptions{}); err == nil && slices.Contains(s.Finalizers, finalizer) {
		t.Error("a deleted Service is kept")
	}
}

// Which load balancer Services get, or why they get none.
func TestServices(t *testing.T) {
	class := func(name string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
	}
	with := func(ip string) []corev1.LoadBalancerIngress { return []corev1.LoadBalancerIngress{{IP: ip}} }
	local := func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 32000
	}
	udp := corev1.ServicePort{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, NodePort: 30001}
	for name, x := range map[string]struct {
		services []*corev1.Service
		vips     string // of the Services in order, "-" for none
		event    string // one that must be heard
		listens  string // of the first load balancer
	}{
		"own class":                {services: []*corev1.Service{service(1, class(Class))}, vips: "203.0.113.200"},
		"another's class":          {services: []*corev1.Service{service(1, class("example.com/other"))}, vips: "-"},
		"older ones first":         {services: []*corev1.Service{service(2, nil), service(1, nil)}, vips: "203.0.113.201 203.0.113.200"},
		"what one has is its own":  {services: []*corev1.Service{service(1, nil), service(2, func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = with("203.0.113.200") })}, vips: "203.0.113.201 203.0.113.200"},
		"an address of no pool":    {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = with("10.9.9.9") })}, vips: "203.0.113.200"},
		"asked for":                {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "203.0.113.201" })}, vips: "203.0.113.201"},
		"asked for by two":         {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "203.0.113.201" }), service(2, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "203.0.113.201" })}, vips: "203.0.113.201 -", event: "203.0.113.201 is the address of Service shop/s1"},
		"asked for, in no pool":    {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "8.8.8.8" })}, vips: "-", event: "8.8.8.8 is in no pool"},
		"of a pool":                {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Annotations = map[string]string{AnnotationPool: "lab-dmz"} })}, vips: "192.0.2.7"},
		"of no pool":               {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Annotations = map[string]string{AnnotationPool: "x"} })}, vips: "-", event: `no pool "x"`},
		"more than addresses":      {services: []*corev1.Service{service(1, nil), service(2, nil), service(3, nil), service(4, nil)}, vips: "203.0.113.200 203.0.113.201 192.0.2.7 -", event: "no free address"},
		"no NodePort":              {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 0 })}, vips: "-", event: "allocateLoadBalancerNodePorts"},
		"SCTP":                     {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP })}, vips: "-", event: "protocol SCTP"},
		"IPv6":                     {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} })}, vips: "-", event: "only IPv4"},
		"sources of IPv6":          {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"fd00::/8"} })}, vips: "-", event: `"fd00::/8" is not an IPv4 CIDR`},
		"TCP and UDP":              {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, udp) })}, vips: "203.0.113.200", listens: "tcp 80→30001 by TCP 30001, udp 80→30001 by TCP 30001"},
		"UDP alone asks kubelet":   {services: []*corev1.Service{service(1, func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{udp} })}, vips: "203.0.113.200", listens: "udp 80→30001 by TCP 10250"},
		"Local asks for endpoints": {services: []*corev1.Service{service(1, local)}, vips: "203.0.113.200", listens: "tcp 80→30001 by HTTP 32000/healthz"},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			for _, s := range x.services {
				objects = append(objects, s)
			}
			c := newCloud(t, objects...)
			c.passes()
			var vips []string
			for _, s := range x.services {
				vip := c.vip(s.Name)
				if vip == "" {
					vip = "-"
				}
				vips = append(vips, vip)
			}
			if got := strings.Join(vips, " "); got != x.vips {
				t.Errorf("VIPs are %s, want %s", got, x.vips)
			}
			if given := strings.Count(x.vips, "."); len(c.target.Balancers) != given/3 {
				t.Errorf("%d load balancers", len(c.target.Balancers))
			}
			if heard := c.heard(); x.event != "" && !slices.ContainsFunc(heard, func(e string) bool {
				return strings.HasPrefix(e, "Warning SyncLoadBalancerFailed ") && strings.Contains(e, x.event)
			}) {
				t.Errorf("no event with %q: %q", x.event, heard)
			}
			c.passes()
			if again := c.heard(); len(again) != 0 {
				t.Errorf("the next pass says %q", again)
			}
			if x.listens == "" {
				return
			}
			var listens []string
			for _, l := range c.target.Balancers[0].Listeners {
				listens = append(listens, fmt.Sprintf("%s %d→%d by %s", l.Protocol, l.Port, l.NodePort, l.Check))
			}
			if got := strings.Join(listens, ", "); got != x.listens {
				t.Errorf("it listens: %s, want %s", got, x.listens)
			}
		})
	}
}

// A Service of another class with the same finalizer, which its controller set, keeps both.
func TestOthersFinalizer(t *testing.T) {
	other := "example.com/other"
	c := newCloud(t, service(1, func(s *corev1.Service) { s.Spec.LoadBalancerClass, s.Finalizers = &other, []string{finalizer} }))
	c.passes()
	if s := c.get("s1"); !slices.Contains(s.Finalizers, finalizer) || len(c.heard()) != 0 {
		t.Errorf("%+v", s)
	}
}

// A Node that joins is added to each load balancer; without Nodes, Services get a warning event.
func TestNodes(t *testing.T) {
	c := newCloud(t, service(1, nil))
	c.passes()
	c.heard()
	if _, err := c.client.CoreV1().Nodes().Create(t.Context(), node("w3", "172.30.0.13", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.passes()
	if got := c.heard(); len(c.target.Nodes) != 3 || len(got) != 1 || !strings.Contains(got[0], "UpdatedLoadBalancer") {
		t.Errorf("%d Nodes, events %q", len(c.target.Nodes), got)
	}
	for _, n := range []string{"w1", "w2", "w3"} {
		if err := c.client.CoreV1().Nodes().Delete(t.Context(), n, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.passes()
	if got := strings.Join(c.heard(), "; "); len(c.target.Nodes) != 0 || !strings.Contains(got, "Warning UnAvailableLoadBalancer") {
		t.Errorf("%d Nodes, events %s", len(c.target.Nodes), got)
	}
}

// supports.yaml tells the verification of the annotation.
func TestAnnotationIsSupported(t *testing.T) {
	data, err := os.ReadFile("../supports.yaml")
	if err != nil || !strings.Contains(string(data), "poolAnnotation: "+AnnotationPool+"\n") {
		t.Errorf("%v\n%s", err, data)
	}
}

// A file is awaited until it is not empty and differs.
func TestAwaitFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = os.WriteFile(path, []byte("one"), 0o600)
	}()
	got, err := awaitFile(t.Context(), path, nil)
	if err != nil || string(got) != "one" {
		t.Fatal(string(got), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := awaitFile(ctx, path, got); err == nil {
		t.Error("the same file counts as another")
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
