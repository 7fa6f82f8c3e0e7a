package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"netlab.dev/netlab/components/cloud/balancer"
)

// Class is the loadBalancerClass of Services that are the controller's, besides those without a class.
const Class = "netlab.dev/cloud"

// finalizer keeps a Service until its load balancer is gone (k8s.io/cloud-provider/service/helpers).
const finalizer = "service.kubernetes.io/load-balancer-cleanup"

// kubelet's port says that a Node is on, where nothing of a Service can be asked over TCP.
const kubelet = 10250

// The reasons of events, as k8s.io/cloud-provider has them.
const (
	reasonEnsuring = "EnsuringLoadBalancer"
	reasonEnsured  = "EnsuredLoadBalancer"
	reasonUpdated  = "UpdatedLoadBalancer"
	reasonFailed   = "SyncLoadBalancerFailed"
	reasonNoNodes  = "UnAvailableLoadBalancer"
	reasonDeleting = "DeletingLoadBalancer"
	reasonDeleted  = "DeletedLoadBalancer"
)

// controller makes passes: what each Service has follows from the cluster alone, whatever happened before.
type controller struct {
	client kubernetes.Interface
	config Config
	events record.EventRecorder
	set    func(context.Context, balancer.Target) error
	say    func(string, ...any)

	said  map[string]string // by Service: why it was refused last
	nodes []balancer.Node   // of the pass before
}

// ours reports whether a Service is to have a load balancer of this controller.
func ours(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil && ofClass(s)
}

// ofClass reports whether a Service is this controller's: those of other classes are left alone.
func ofClass(s *corev1.Service) bool {
	return s.Spec.LoadBalancerClass == nil || *s.Spec.LoadBalancerClass == Class
}

// leaves reports whether a Service had a load balancer of this controller, and is to have none any more.
func leaves(s *corev1.Service) bool {
	return !ours(s) && ofClass(s) && slices.Contains(s.Finalizers, finalizer)
}

// pass makes load balancers, statuses and finalizers what the Services ask for. A VIP is in a status only after
// the load balancer has it, and a finalizer goes only after the load balancer has gone.
func (c *controller) pass(ctx context.Context) error {
	services, nodes, err := c.read(ctx)
	if err != nil {
		return err
	}
	var errs []error
	target := balancer.Target{Nodes: nodes, Balancers: []balancer.Balancer{}}
	vips := pools{c.config.Pools, map[netip.Addr]string{}}
	given, refused := c.allocate(services, vips)
	for i, s := range services {
		if !ours(s) {
			continue
		}
		if !slices.Contains(s.Finalizers, finalizer) {
			c.events.Event(s, corev1.EventTypeNormal, reasonEnsuring, "Ensuring load balancer")
			if services[i], err = c.finalize(ctx, s, append(slices.Clone(s.Finalizers), finalizer)); err != nil {
				errs = append(errs, err)
				delete(given, key(s)) // without it nothing would remove the load balancer
				continue
			}
		}
		if b, is := given[key(s)]; is {
			target.Balancers = append(target.Balancers, b)
		}
	}
	if err := c.set(ctx, target); err != nil {
		return errors.Join(append(errs, fmt.Errorf("set the load balancer: %w", err))...)
	}
	moved := c.nodes != nil && !slices.Equal(c.nodes, nodes)
	c.nodes = nodes
	for _, s := range services {
		b, is := given[key(s)]
		switch {
		case is:
			errs = append(errs, c.ensured(ctx, s, b, moved))
		case ours(s) && refused[key(s)] != nil:
			errs = append(errs, c.refuse(ctx, s, refused[key(s)]))
		case leaves(s):
			errs = append(errs, c.release(ctx, s))
		}
	}
	c.forget(services)
	return errors.Join(errs...)
}

// read lists all Services, the oldest first, and the Nodes that a load balancer may forward to. A Node that is
// not Ready stays: whether it serves is for health checks to say.
func (c *controller) read(ctx context.Context) (services []*corev1.Service, nodes []balancer.Node, err error) {
	list, err := c.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	for i := range list.Items {
		services = append(services, &list.Items[i])
	}
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(key(a), key(b)))
	})
	all, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	nodes = []balancer.Node{}
	for _, n := range all.Items {
		if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded || n.DeletionTimestamp != nil {
			continue
		}
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && ip.Is4() {
				nodes = append(nodes, balancer.Node{Name: n.Name, Address: ip})
				break
			}
		}
	}
	return services, nodes, nil
}

// allocate returns the load balancer of each Service, or why it has none, by the Services' keys. VIPs that Services have
// are theirs before others get one.
func (c *controller) allocate(services []*corev1.Service, vips pools) (given map[string]balancer.Balancer, refused map[string]error) {
	given, refused = map[string]balancer.Balancer{}, map[string]error{}
	var without []*corev1.Service
	for _, s := range services {
		if !ours(s) {
			continue
		}
		b, err := listeners(s)
		if err != nil {
			refused[key(s)] = err
			continue
		}
		vip, pool, kept := vips.keep(s)
		if !kept {
			without = append(without, s)
		}
		b.VIP, b.NIC = vip, pool.NIC
		given[key(s)] = b
	}
	for _, s := range without {
		vip, pool, err := vips.allocate(s)
		if err != nil {
			delete(given, key(s))
			refused[key(s)] = err
			continue
		}
		b := given[key(s)]
		b.VIP, b.NIC = vip, pool.NIC
		given[key(s)] = b
	}
	return given, refused
}

// listeners is the load balancer of a Service without its VIP, or why it cannot have one.
func listeners(s *corev1.Service) (b balancer.Balancer, err error) {
	b.Service = key(s)
	if !slices.Contains(s.Spec.IPFamilies, corev1.IPv4Protocol) {
		return b, errors.New("only IPv4 is supported")
	}
	for _, text := range s.Spec.LoadBalancerSourceRanges {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || !p.Addr().Is4() {
			return b, fmt.Errorf("loadBalancerSourceRanges: %q is not an IPv4 CIDR", text)
		}
		b.Sources = append(b.Sources, p)
	}
	protocols := map[corev1.Protocol]string{corev1.ProtocolTCP: balancer.TCP, corev1.ProtocolUDP: balancer.UDP}
	for _, p := range s.Spec.Ports {
		switch {
		case protocols[p.Protocol] == "":
			return b, fmt.Errorf("port %d: protocol %s is not supported", p.Port, p.Protocol)
		case p.NodePort == 0:
			return b, fmt.Errorf("port %d has no NodePort, by which the load balancer reaches Pods: set allocateLoadBalancerNodePorts to true, or the port's nodePort", p.Port)
		}
		b.Listeners = append(b.Listeners, balancer.Listener{Protocol: protocols[p.Protocol], Port: uint16(p.Port), NodePort: uint16(p.NodePort), Check: checkOf(s, p)})
	}
	return b, nil
}

// checkOf is how a Node's health is asked for a port: under externalTrafficPolicy Local whether it has an endpoint;
// else by a connection to the NodePort, for UDP to that of another port of the Service, or to kubelet.
func checkOf(s *corev1.Service, p corev1.ServicePort) balancer.Check {
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort != 0 {
		return balancer.Check{Port: uint16(s.Spec.HealthCheckNodePort), Path: "/healthz"}
	}
	for _, tcp := range append([]corev1.ServicePort{p}, s.Spec.Ports...) {
		if tcp.Protocol == corev1.ProtocolTCP && tcp.NodePort != 0 {
			return balancer.Check{Port: uint16(tcp.NodePort)}
		}
	}
	return balancer.Check{Port: kubelet}
}

// finalize gives a Service other finalizers, unless it has changed.
func (c *controller) finalize(ctx context.Context, s *corev1.Service, finalizers []string) (*corev1.Service, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": s.ResourceVersion, "finalizers": finalizers}})
	if err != nil {
		return s, err
	}
	changed, err := c.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return s, fmt.Errorf("finalizers of Service %s: %w", key(s), err)
	}
	return changed, nil
}

// status gives a Service's status another VIP, or none, and reports whether it had that.
func (c *controller) status(ctx context.Context, s *corev1.Service, ingress []corev1.LoadBalancerIngress) (had bool, err error) {
	if len(ingress) == 0 && len(s.Status.LoadBalancer.Ingress) == 0 || reflect.DeepEqual(s.Status.LoadBalancer.Ingress, ingress) {
		return true, nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		return false, err
	}
	_, err = c.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return false, fmt.Errorf("status of Service %s: %w", key(s), err)
	}
	return false, nil
}

// ensured writes the VIP of a load balancer that is set up. With ipMode Proxy kube-proxy has no short cut to it: what
// Pods of the cluster send to the VIP goes by the load balancer too.
func (c *controller) ensured(ctx context.Context, s *corev1.Service, b balancer.Balancer, moved bool) error {
	proxy := corev1.LoadBalancerIPModeProxy
	had, err := c.status(ctx, s, []corev1.LoadBalancerIngress{{IP: b.VIP.String(), IPMode: &proxy}})
	if err != nil {
		return err
	}
	delete(c.said, key(s))
	switch {
	case !had:
		c.say("Service %s has %s", key(s), b.VIP)
		c.events.Event(s, corev1.EventTypeNormal, reasonEnsured, "Ensured load balancer")
	case moved:
		c.events.Event(s, corev1.EventTypeNormal, reasonUpdated, "Updated load balancer with new hosts")
	}
	if len(c.nodes) == 0 && (!had || moved) {
		c.events.Event(s, corev1.EventTypeWarning, reasonNoNodes, "There are no available nodes for LoadBalancer")
	}
	return nil
}

// refuse says once why a Service has no load balancer.
func (c *controller) refuse(ctx context.Context, s *corev1.Service, why error) error {
	if _, err := c.status(ctx, s, nil); err != nil {
		return err
	}
	if c.said[key(s)] != why.Error() {
		c.said[key(s)] = why.Error()
		c.say("Service %s: %v", key(s), why)
		c.events.Eventf(s, corev1.EventTypeWarning, reasonFailed, "Error syncing load balancer: failed to ensure load balancer: %v", why)
	}
	return nil
}

// release lets go of a Service whose load balancer has gone.
func (c *controller) release(ctx context.Context, s *corev1.Service) error {
	c.events.Event(s, corev1.EventTypeNormal, reasonDeleting, "Deleting load balancer")
	if s.DeletionTimestamp == nil {
		if _, err := c.status(ctx, s, nil); err != nil {
			return err
		}
		fresh, err := c.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s = fresh
	}
	others := slices.DeleteFunc(slices.Clone(s.Finalizers), func(f string) bool { return f == finalizer })
	if _, err := c.finalize(ctx, s, others); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	c.say("Service %s has no load balancer any more", key(s))
	c.events.Event(s, corev1.EventTypeNormal, reasonDeleted, "Deleted load balancer")
	return nil
}

// forget drops what was said about Services that are gone, so that their namesakes hear it too.
func (c *controller) forget(services []*corev1.Service) {
	maps.DeleteFunc(c.said, func(k string, _ string) bool {
		return !slices.ContainsFunc(services, func(s *corev1.Service) bool { return key(s) == k && ours(s) })
	})
}
