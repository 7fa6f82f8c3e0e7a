// Package components is the catalogue of a lab's software. Each folder below it is one
// upstream and holds its versions: pins, how each artifact is obtained, chart and values,
// what it supports and when it is ready, all of it data. The package resolves a topology.Plan
// to a Set of components, and renders what is installed into the cluster. It obtains nothing
// (package artifacts does), starts no part of a lab and does not depend on a provider.
package components

import (
	"io/fs"
	"net/netip"
)

// Support is what the lab's CNI claims, and so what the paths expect of it, what its load balancer
// and ingress controller ask of objects, and what evidence calls the services of outside hosts.
type Support struct {
	NetworkPolicy bool `json:"networkPolicy"`
	IPBlockPods   bool `json:"ipBlockPods"` // an ipBlock of a NetworkPolicy selects Pods by their addresses
	// RelabelSeconds bounds how long policies go on deciding by a Pod's earlier labels; 0: no
	// longer than a new policy takes.
	RelabelSeconds int `json:"relabelSeconds,omitempty"`

	L7Policy      bool          `json:"l7Policy"`
	L7Reason      string        `json:"l7Reason,omitempty"`     // why not, if L7Policy is false
	FQDNPolicy    bool          `json:"fqdnPolicy"`             // policies that allow DNS names
	FQDNReason    string        `json:"fqdnReason,omitempty"`   // why not
	RoutesPodCIDR bool          `json:"routesPodCIDR"`          // outside routers learn Pod routes (BGP)
	Encapsulation Encapsulation `json:"encapsulation,omitzero"` // of packets between Nodes
	ReplacesProxy bool          `json:"replacesProxy"`
	ServesPods    bool          `json:"servesPods"` // it implements Services for Pods, with kube-proxy or without

	VIPs    VIPs    `json:"vips,omitzero"`    // of a load balancer
	Ingress Ingress `json:"ingress,omitzero"` // of an ingress controller

	Listeners map[netip.AddrPort]string `json:"-"` // who replies at an address and port of an outside host
}

// VIPs is what a load balancer asks of the Services that want one, and of Nodes.
type VIPs struct {
	PoolAnnotation string `json:"poolAnnotation"` // by which a Service names its pool
	// ExcludesNodes: Nodes with the label node.kubernetes.io/exclude-from-external-load-balancers
	// announce none.
	ExcludesNodes bool `json:"excludesNodes"`
}

// Ingress is what an ingress controller asks of an Ingress.
type Ingress struct {
	Class       string            `json:"class"`
	Annotations map[string]string `json:"annotations,omitempty"` // that keep it from redirecting HTTP to HTTPS
}

// Encapsulation is how packets between Nodes are encapsulated; the zero value: not at all.
type Encapsulation struct {
	Kind     string `json:"kind"`     // vxlan: as verify/trace knows it
	Port     int    `json:"port"`     // of UDP
	Overhead int    `json:"overhead"` // bytes a packet grows by; Pod MTU = network MTU - this
}

// The kinds of a Component. Those of KindBase are part of every lab, and so is the one of
// KindKubernetes, whose version the lab selects and with it those of its Release; of
// KindCNI, KindLoadBalancer and KindIngress the lab selects one by name, or none; those of
// KindMachine come with virtual machines, those of KindHost with outside hosts, and of KindImages,
// which are for the user's own workloads, the lab lists those that it has.
const (
	KindBase         = "base"
	KindKubernetes   = "kubernetes"
	KindCNI          = "cni"
	KindLoadBalancer = "loadBalancer"
	KindIngress      = "ingress"
	KindMachine      = "machine"
	KindHost         = "host"
	KindImages       = "images"
)

// Placeholders for a version. SelfVersion: the version or tag is derived from the netlab
// executable. ReleaseVersion: the version is that of the lab's Kubernetes.
const (
	SelfVersion    = "self"
	ReleaseVersion = "release"
)

// Self reports whether a component is made of the netlab executable, and so has no version.
func (k Component) Self() bool { return k.Version == SelfVersion }

// InEveryLab reports whether the component is part of every lab.
func (k Component) InEveryLab() bool { return k.Kind == KindBase || k.Kind == KindKubernetes }

// Chosen reports whether a lab selects the component by its name.
func (k Component) Chosen() bool {
	return k.Kind == KindCNI || k.Kind == KindLoadBalancer || k.Kind == KindIngress
}

// Component is one version of an upstream: what the upstream's component.yaml says, with
// what its <version>/version.yaml says laid over it (see overlay), and the files of both
// folders. Among the files may be values.yaml (the chart's values), patches.yaml (strategic
// merge patches of what chart or manifest give), once.yaml (keys and certificates that it
// finds made), objects.yaml (our configuration of what was installed) and supports.yaml
// (Support); these are templates over View. l7policy.yaml is one over HTTPRule, and
// fqdnpolicy.yaml over FQDNRule.
type Component struct {
	Name      string `json:"-"` // the folder
	Kind      string `json:"kind"`
	Version   string `json:"version"`   // the version's folder; written in component.yaml where there is only one
	Default   bool   `json:"default"`   // the version of a lab that names none; if no version is marked, the newest
	Preferred bool   `json:"preferred"` // the component of a lab that names none of its kind
	About     string `json:"about"`
	Source    string `json:"source"`
	// Release is the version of each other component that belongs to this one, by name: for
	// Kubernetes the versions that its kubeadm requires.
	Release    map[string]string `json:"release"`
	Kubernetes []string          `json:"kubernetes"` // minor versions it works with, as "v1.37"; none: all
	Tested     *Tested           `json:"tested"`
	Warns      []Warning         `json:"warns"`
	Needs      []Need            `json:"needs"`
	Builds     []Build           `json:"builds"`
	Programs   []string          `json:"programs"` // build outputs that netlab itself runs
	Layers     []Layer           `json:"layers"`
	Images     []Image           `json:"images"`
	// Caches are directories of Nodes, by name, for what is computed at run time and is the same on
	// every Node. A lab's Nodes share one; its directory "shared" has what earlier labs computed and
	// is read-only. A file is an entry once it has a name that does not begin with a dot.
	Caches  map[string]string   `json:"caches"`
	Install *Install            `json:"install"`
	Service *Service            `json:"service"` // how it runs on an outside host
	Options map[string][]string `json:"options"` // option → allowed values, the first the default
	Modes   []string            `json:"modes"`   // loadBalancer.mode or ingress.service, the first the default
	Refuses []Refusal           `json:"refuses"` // what lab files may ask for, and this version cannot do
	Lacks   []string            `json:"lacks"`   // what our build does not do that upstream's image does
	Differs []Difference        `json:"differs"` // what is set differently from upstream
	Notice  string              `json:"notice"`  // printed at every `up`

	files fs.FS
}

// Files are the files of the version's folder, and those of the component's folder that the
// version's folder does not replace.
func (k Component) Files() fs.FS {
	if k.files == nil {
		return noFiles{}
	}
	return k.files
}

// noFiles is the folder of a component that was not read from one.
type noFiles struct{}

// Open finds nothing.
func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Ref is the reference of an image with a fixed tag.
func (k Component) Ref(i Image) string {
	if i.Tag == "" {
		return i.Name + ":" + k.Version
	}
	return i.Name + ":" + i.Tag
}

// Tested are the minor versions of Kubernetes, as "v1.37", that upstream tested this
// version with. With another it may work.
type Tested struct {
	Kubernetes []string `json:"kubernetes"`
	Source     string   `json:"source"` // where upstream says so
}

// Warning is what upstream says against a mode, or a combination of modes, that works
// nevertheless.
type Warning struct {
	When   map[string]string `json:"when"` // option → value
	Says   string            `json:"says"`
	Source string            `json:"source"`
}

// Refusal is a value of a field of the lab file with which the component does not work.
type Refusal struct {
	Field string `json:"field"` // as loadBalancer.bgp.bfd
	Value string `json:"value"` // as "true"
	Why   string `json:"why"`
}

// Install is how a component is installed into a running cluster.
type Install struct {
	Chart     string            `json:"chart"`    // "component/name" of Build.Copies
	Manifest  string            `json:"manifest"` // likewise a YAML file, where upstream has no chart
	Own       string            `json:"own"`      // file of the component, rendered with View, instead of an upstream chart or manifest
	CRDs      []string          `json:"crds"`     // likewise YAML files of definitions that neither has
	Release   string            `json:"release"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"` // of the namespace
	Ready     []Workload        `json:"ready"`
	Asks      []Question        `json:"asks"`    // asked on every Node once all of Ready is rolled out
	Account   *Account          `json:"account"` // of a controller that runs outside the cluster
}

// Account is a ServiceAccount, in the component's namespace, of the component's service on outside hosts.
type Account struct {
	Name       string `json:"name"`
	Secret     string `json:"secret"`     // with its token
	Kubeconfig string `json:"kubeconfig"` // path of the file on the hosts that gets it
	Lease      string `json:"lease"`      // that the service takes when it works

	Namespace string   `json:"-"` // the component's
	Hosts     []string `json:"-"` // of the plan, that have the service
}

// Copies lists the copied files that the installation is rendered from.
func (k Component) Copies() []string {
	if k.Install == nil {
		return nil
	}
	return k.Install.copies()
}

func (in Install) copies() []string {
	if in.Own != "" {
		return in.CRDs
	}
	return append([]string{in.Chart + in.Manifest}, in.CRDs...)
}

// Question checks whether what was rolled out on a Node works: an HTTP request to a server on
// a unix socket, which answers with a JSON list.
type Question struct {
	Socket string `json:"socket"` // path in the Node
	Path   string `json:"path"`   // of the URL
	Field  string `json:"field"`  // of every entry, as "status.state"
	Want   string `json:"want"`   // the expected value
	Name   string `json:"name"`   // the field that names an entry in messages
	Of     string `json:"of"`     // what the entries are, as "endpoint"
}

func (q Question) String() string { return "every " + q.Of + " is " + q.Want }

// Workload names a Deployment or DaemonSet that has to be rolled out.
type Workload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	With      string `json:"with"` // the optional image without which there is none
	Does      []Duty `json:"does"` // of a load balancer in the cluster
}

// Duty is what a workload of a load balancer does.
type Duty string

// The duties, each of one workload.
const (
	Assigns   Duty = "assigns"   // gives Services their VIPs
	Announces Duty = "announces" // makes Nodes answer for VIPs
)

func (w Workload) String() string { return w.Kind + " " + w.Namespace + "/" + w.Name }
