// Package workload is what a verification creates in the cluster: Pods with agents, and the
// Services and the Ingress in front of them. It takes a Plan and returns Kubernetes objects
// (Objects), and makes the cluster hold exactly these (Apply). It does not wait for them.
package workload

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// LoadPath is the path of the Ingress that leads to the server of a measurement.
const LoadPath = "/measure"

// Names of the Services, all in Namespace.
const (
	ServiceEcho          = "echo"
	ServiceItself        = "echo-itself" // its only endpoint is the Pod that requests it; measurements use it too
	ServiceHeadless      = "echo-headless"
	ServiceNodePort      = "echo-nodeport"
	ServiceNodePortLocal = "echo-nodeport-local"
	ServiceAffinity      = "echo-affinity" // with sessionAffinity ClientIP
	ServiceLB            = "echo-lb"
	ServiceLBLocal       = "echo-lb-local"
	ServiceA             = "echo-a"
	ServiceB             = "echo-b"
	ServiceExternal      = "outside"
	ServiceAPI           = "kubernetes" // the API server's, in the namespace default

	ingressName = "echo"
	SecretName  = "echo-tls"
	accountName = "agent"
	UnknownHost = "nosuch.netlab.test"
	AgentPath   = "/usr/local/bin/netlab"
	PortName    = "http" // of agent.PortHTTP, in Pods with a network of their own
	agentDir    = "/run/netlab/agents"
	SecondPort  = 9080 // HTTP port of a Pod's second container

	// visitorPort is a hostPort: unassigned by IANA, below the NodePorts and Linux's local ports.
	visitorPort = 29644
)

// Socket is the path of an agent Pod's control socket in its Node's file system. The end of a
// long name is replaced by a hash: with /proc/<pid>/root in front of it the path of a socket
// has 107 bytes at most (sun_path in unix(7)), and a Pod's name is as long as its Node's.
func Socket(namespace, pod string) string {
	name := namespace + "_" + pod
	if len(name) > maxSocketName {
		name = fmt.Sprintf("%.*s-%x", maxSocketName-13, name, sha256.Sum256([]byte(name)))[:maxSocketName]
	}
	return agentDir + "/" + name + ".sock"
}

const maxSocketName = 107 - len("/proc/4194304/root") - len(agentDir) - len("/.sock")

// IngressRoute is one host and path of the Ingress, and the Service behind it.
type IngressRoute struct{ Host, Path, Service string }

func IngressRoutes() []IngressRoute {
	return []IngressRoute{
		{"a.netlab.test", "/one", ServiceA}, {"a.netlab.test", "/two", ServiceB},
		{"b.netlab.test", "/one", ServiceB}, {"b.netlab.test", "/two", ServiceA},
	}
}

func IngressHosts() []string { return []string{"a.netlab.test", "b.netlab.test"} }

// IngressKey is how a refusal names the Ingress.
const IngressKey = "ingresses/" + Namespace + "/" + ingressName

// object is one object that the cluster must have. Its hash leaves out what differs between
// two creations of the same object, such as a key.
type object struct {
	Resource  schema.GroupVersionResource
	Name      string
	Namespace string // "" for a Namespace
	Hash      string
	Object    runtime.Object
}

// ServiceSpec is what differs between the Services.
type ServiceSpec struct {
	Name            string
	Label, Value    string // selector
	Type            corev1.ServiceType
	Local, Headless bool
	Datagrams       bool   // serves UDP at its port 80 too
	Affinity        bool   // sessionAffinity ClientIP
	Load            bool   // has the ports of the measurements
	Pool            string // of the VIP, by its name; "" where the lab has only one
}

func ServiceSpecs(plan topology.Plan) []ServiceSpec {
	specs := []ServiceSpec{
		{Name: ServiceEcho, Label: labelRole, Value: "echo", Datagrams: true},
		{Name: ServiceItself, Label: labelSingle, Value: "true", Load: true},
		{Name: ServiceHeadless, Label: labelRole, Value: "echo", Headless: true},
		{Name: ServiceNodePort, Label: labelRole, Value: "echo", Type: corev1.ServiceTypeNodePort, Datagrams: true},
		{Name: ServiceNodePortLocal, Label: labelSingle, Value: "true", Type: corev1.ServiceTypeNodePort, Local: true, Datagrams: true, Load: true},
		{Name: ServiceAffinity, Label: labelRole, Value: "echo", Type: corev1.ServiceTypeNodePort, Affinity: true},
	}
	for _, name := range VIPServices(plan) {
		if !HasLoadBalancer(plan) || !VIPFor(plan, name) {
			continue
		}
		s := ServiceSpec{Name: name, Label: labelRole, Value: "echo", Type: corev1.ServiceTypeLoadBalancer, Datagrams: true}
		if Local(name) {
			s.Label, s.Value, s.Local, s.Load = labelSingle, "true", true, true
		}
		if len(plan.VIPNetworks()) > 1 {
			network, _ := VIPNetwork(plan, name)
			s.Pool = network.Name
		}
		specs = append(specs, s)
	}
	if HasIngress(plan) {
		specs = append(specs, ServiceSpec{Name: ServiceA, Label: labelBackend, Value: "a"}, ServiceSpec{Name: ServiceB, Label: labelBackend, Value: "b"})
	}
	return specs
}

// namespaces are the objects that the others live in.
func namespaces() []object {
	var out []object
	for _, name := range []string{Namespace, GuestsNamespace} {
		meta := OwnMeta("", name, nil)
		// Agents mount a directory of their Node, which no stricter level allows.
		meta.Labels["pod-security.kubernetes.io/enforce"] = "privileged"
		out = append(out, object{Resource: resourceNamespaces(), Name: name, Object: &corev1.Namespace{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta}})
	}
	return out
}

// Lab is what the objects are made of.
type Lab struct {
	Plan    topology.Plan
	Support components.Support
	Pods    Pods
	Image   string // of the agent
}

// Objects is everything in the namespaces, ServiceAccounts first: a Pod is rejected before
// its ServiceAccount exists.
func Objects(l Lab) []object {
	plan := l.Plan
	var out []object
	no := false
	for _, ns := range []string{Namespace, GuestsNamespace} {
		out = append(out, object{Resource: resourceAccounts(), Name: accountName, Namespace: ns, Object: &corev1.ServiceAccount{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: OwnMeta(ns, accountName, nil),
			AutomountServiceAccountToken: &no}})
	}
	for _, p := range l.Pods.All() {
		out = append(out, object{Resource: resourcePods(), Name: p.Name, Namespace: p.Namespace, Object: podObject(p, l.Image)})
	}
	for _, s := range ServiceSpecs(plan) {
		out = append(out, object{Resource: resourceServices(), Name: s.Name, Namespace: Namespace, Object: ServiceObject(s, l.Support.VIPs)})
	}
	if name := OutsideName(plan); name != "" {
		out = append(out, object{Resource: resourceServices(), Name: ServiceExternal, Namespace: Namespace, Object: &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: OwnMeta(Namespace, ServiceExternal, nil),
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: name}}})
	}
	if HasIngress(plan) {
		out = append(out,
			object{Resource: resourceSecrets(), Name: SecretName, Namespace: Namespace, Hash: "hosts=" + strings.Join(IngressHosts(), ",")},
			object{Resource: resourceIngresses(), Name: ingressName, Namespace: Namespace, Object: ingressObject(l.Support.Ingress)})
	}
	return out
}

func OwnMeta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	all := map[string]string{LabelOwner: "true"}
	for k, v := range labels {
		all[k] = v
	}
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: all}
}

func podObject(p Pod, image string) *corev1.Pod {
	var zero int64
	no := false
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	container := func(name string, args ...string) corev1.Container {
		return corev1.Container{
			Name: name, Image: image, ImagePullPolicy: corev1.PullNever,
			Command: append([]string{AgentPath, "agent", "serve"}, args...),
			Env: []corev1.EnvVar{
				field(agent.EnvName, "metadata.name"), field(agent.EnvNode, "spec.nodeName"), field(agent.EnvIP, "status.podIP"),
			},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("8Mi")}},
		}
	}
	first := container("agent", "--socket", Socket(p.Namespace, p.Name))
	// Captures and ARP require it, and not every runtime grants it by default.
	first.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_RAW"}}}
	first.VolumeMounts = []corev1.VolumeMount{{Name: "agents", MountPath: agentDir}}
	directory := corev1.HostPathDirectoryOrCreate
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: OwnMeta(p.Namespace, p.Name, p.Labels),
		Spec: corev1.PodSpec{
			NodeName:                      p.Node,
			HostNetwork:                   p.HostNetwork,
			ServiceAccountName:            accountName,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			TerminationGracePeriodSeconds: &zero,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:                    []corev1.Container{first},
			Volumes: []corev1.Volume{{Name: "agents", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: agentDir, Type: &directory}}}},
		},
	}
	if p.HostNetwork {
		shareNode(&pod.Spec)
	}
	if !p.HostNetwork {
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: PortName, ContainerPort: agent.PortHTTP, HostPort: int32(p.HostPort)}}
	}
	if p.Second {
		pod.Spec.Containers = append(pod.Spec.Containers, container("second", "--http", strconv.Itoa(SecondPort), "--tcp", "0", "--udp", "0"))
	}
	return pod
}

// shareNode makes an agent use the ports that it has in a Node's network. They are declared,
// so that the scheduler and kubelet know of them.
func shareNode(spec *corev1.PodSpec) {
	spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	c := &spec.Containers[0]
	for _, x := range []struct {
		name     string
		protocol corev1.Protocol
		port     int32
	}{
		{"http", corev1.ProtocolTCP, agent.HostNetworkHTTP}, {"tcp", corev1.ProtocolTCP, agent.HostNetworkTCP}, {"udp", corev1.ProtocolUDP, agent.HostNetworkUDP},
		{"load", corev1.ProtocolTCP, agent.HostNetworkLoad}, {"load-udp", corev1.ProtocolUDP, agent.HostNetworkLoad},
	} {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: x.name, Protocol: x.protocol, ContainerPort: x.port, HostPort: x.port})
		if x.name != "load-udp" {
			c.Command = append(c.Command, "--"+x.name, strconv.Itoa(int(x.port)))
		}
	}
}

func ServiceObject(s ServiceSpec, vips components.VIPs) *corev1.Service {
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: OwnMeta(Namespace, s.Name, nil),
		Spec: corev1.ServiceSpec{
			Type:     s.Type,
			Selector: map[string]string{s.Label: s.Value},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(agent.PortHTTP)}},
		},
	}
	if s.Datagrams {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(agent.PortUDP)})
	}
	if s.Load {
		for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "load-" + strings.ToLower(string(protocol)),
				Protocol: protocol, Port: agent.PortLoad, TargetPort: intstr.FromInt32(agent.PortLoad)})
		}
	}
	if s.Pool != "" {
		service.Annotations = map[string]string{vips.PoolAnnotation: s.Pool}
	}
	if s.Affinity {
		service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if s.Headless {
		service.Spec.ClusterIP = corev1.ClusterIPNone
	}
	if s.Local {
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	return service
}

func ingressObject(of components.Ingress) *networkingv1.Ingress {
	meta := OwnMeta(Namespace, ingressName, nil)
	meta.Annotations = of.Annotations // the same paths are requested with and without TLS
	prefix := networkingv1.PathTypePrefix
	var rules []networkingv1.IngressRule
	path := func(at, service string, port int32) networkingv1.HTTPIngressPath {
		return networkingv1.HTTPIngressPath{Path: at, PathType: &prefix, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: port}}}}
	}
	for _, host := range IngressHosts() {
		rule := networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
		for _, r := range IngressRoutes() {
			if r.Host == host {
				rule.HTTP.Paths = append(rule.HTTP.Paths, path(r.Path, r.Service, 80))
			}
		}
		if len(rules) == 0 {
			rule.HTTP.Paths = append(rule.HTTP.Paths, path(LoadPath, ServiceItself, agent.PortLoad))
		}
		rules = append(rules, rule)
	}
	return &networkingv1.Ingress{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
		ObjectMeta: meta,
		Spec: networkingv1.IngressSpec{IngressClassName: &of.Class, Rules: rules,
			TLS: []networkingv1.IngressTLS{{Hosts: IngressHosts(), SecretName: SecretName}}},
	}
}

func resourceNamespaces() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("namespaces")
}

func resourceAccounts() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("serviceaccounts")
}

func resourcePods() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("pods")
}

func resourceServices() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("services")
}

func resourceSecrets() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("secrets")
}

func resourceIngresses() schema.GroupVersionResource {
	return networkingv1.SchemeGroupVersion.WithResource("ingresses")
}

func resourcePolicies() schema.GroupVersionResource {
	return networkingv1.SchemeGroupVersion.WithResource("networkpolicies")
}

// ServiceLabel is on every EndpointSlice of a Service.
const ServiceLabel = discoveryv1.LabelServiceName
