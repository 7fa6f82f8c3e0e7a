// Package components is the catalogue of a lab's software. Each folder below it is one
// upstream and holds its versions: pins, how each artifact is obtained, chart and values,
// what it supports and when it is ready, all of it data. The package takes a topology.Plan
// and gives the Set of components that the plan resolves to, and renders what is installed
// into the cluster. It obtains nothing (package artifacts does), starts no part of a lab and
// knows no provider.
package components

import "io/fs"

// Support is what the lab's CNI claims, and so what the paths expect of it.
type Support struct {
	NetworkPolicy bool          `json:"networkPolicy"`
	L7Policy      bool          `json:"l7Policy"`
	L7Reason      string        `json:"l7Reason,omitempty"`     // why not, where L7Policy is false
	RoutesPodCIDR bool          `json:"routesPodCIDR"`          // outside routers learn Pod routes (BGP)
	Encapsulation Encapsulation `json:"encapsulation,omitzero"` // of packets between Nodes
	ReplacesProxy bool          `json:"replacesProxy"`
	ServesPods    bool          `json:"servesPods"` // it answers for Services that Pods ask, kube-proxy or not
}

// Encapsulation is how packets between Nodes are wrapped; the zero value: they are not.
type Encapsulation struct {
	Kind     string `json:"kind"`     // vxlan: as verify/trace knows it
	Port     int    `json:"port"`     // of UDP
	Overhead int    `json:"overhead"` // bytes a packet grows by; Pod MTU = network MTU - this
}

// The kinds of a Component. Those of KindBase are part of every lab, and so is the one of
// KindKubernetes, whose version the lab selects and with it those of its Release; of
// KindCNI, KindLoadBalancer and KindIngress the lab selects one by name, or none; those of
// KindMachine come with virtual machines, those of KindHost with outside hosts.
const (
	KindBase         = "base"
	KindKubernetes   = "kubernetes"
	KindCNI          = "cni"
	KindLoadBalancer = "loadBalancer"
	KindIngress      = "ingress"
	KindMachine      = "machine"
	KindHost         = "host"
)

// What stands in the place of a version. SelfVersion: a version or tag follows from the
// netlab executable. ReleaseVersion: the version is that of the lab's Kubernetes.
const (
	SelfVersion    = "self"
	ReleaseVersion = "release"
)

// Self reports that a component is made of the netlab executable, and has no version of
// its own.
func (k Component) Self() bool { return k.Version == SelfVersion }

// InEveryLab reports whether a lab has no choice but to have the component.
func (k Component) InEveryLab() bool { return k.Kind == KindBase || k.Kind == KindKubernetes }

// Component is one version of an upstream: what the upstream's component.yaml says, with
// what its <version>/version.yaml says laid over it (see overlay), and the files of both
// folders. Among the files may be values.yaml (the chart's values), patches.yaml (strategic
// merge patches of what chart or manifest give), once.yaml (keys and certificates that it
// finds made), objects.yaml (our configuration of what was installed) and supports.yaml
// (Support); these are templates over View. l7policy.yaml is one over HTTPRule.
type Component struct {
	Name      string `json:"-"` // the folder
	Kind      string `json:"kind"`
	Version   string `json:"version"`   // the version's folder; written in component.yaml where there is only one
	Default   bool   `json:"default"`   // the version of a lab that names none; unless told, the newest
	Preferred bool   `json:"preferred"` // the component of a lab that names none of its kind
	About     string `json:"about"`
	Source    string `json:"source"`
	// Release is the version of each other component that belongs to this one, by name: for
	// Kubernetes what its kubeadm asks for.
	Release    map[string]string `json:"release"`
	Kubernetes []string          `json:"kubernetes"` // minor versions it works with, as "v1.37"; none: all
	Tested     *Tested           `json:"tested"`
	Warns      []Warning         `json:"warns"`
	Needs      []Need            `json:"needs"`
	Builds     []Build           `json:"builds"`
	Programs   []string          `json:"programs"` // build outputs that netlab itself runs
	Layers     []Layer           `json:"layers"`
	Images     []Image           `json:"images"`
	// Caches are directories of Nodes, by name: one of the cache, for all labs alike, for
	// what is worked out when they run and is the same wherever it is.
	Caches  map[string]string   `json:"caches"`
	Install *Install            `json:"install"`
	Service *Service            `json:"service"` // how it runs on an outside host
	Options map[string][]string `json:"options"` // option → allowed values, the first the default
	Modes   []string            `json:"modes"`   // loadBalancer.mode or ingress.service, the first the default
	Lacks   []string            `json:"lacks"`   // what our build does not do that upstream's image does
	Notice  string              `json:"notice"`  // told at every `up`

	files fs.FS
}

// Files are the component's files: those of its version's folder, and of its own folder
// those that the version's does not replace.
func (k Component) Files() fs.FS { return k.files }

// Ref is the reference of an image whose tag is written down.
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

// Warning is what upstream says against a mode, or a combination of modes, that works all
// the same.
type Warning struct {
	When   map[string]string `json:"when"` // option → value
	Says   string            `json:"says"`
	Source string            `json:"source"`
}

// Install is how a component gets into a running cluster.
type Install struct {
	Chart     string            `json:"chart"`    // "component/name" of Build.Copies
	Manifest  string            `json:"manifest"` // likewise a YAML file, where upstream has no chart
	CRDs      []string          `json:"crds"`     // likewise YAML files of definitions that neither has
	Release   string            `json:"release"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"` // of the namespace
	Ready     []Workload        `json:"ready"`
	Asks      []Question        `json:"asks"` // put to every Node once all of Ready is rolled out
}

// Copies lists the copied files that the installation is rendered from.
func (k Component) Copies() []string {
	if k.Install == nil {
		return nil
	}
	return k.Install.copies()
}

func (in Install) copies() []string { return append([]string{in.Chart + in.Manifest}, in.CRDs...) }

// Question tells whether what was rolled out on a Node works: a server on a unix socket
// is asked over HTTP, and answers with a JSON list.
type Question struct {
	Socket string `json:"socket"` // path in the Node
	Path   string `json:"path"`   // of the URL
	Field  string `json:"field"`  // of every entry, as "status.state"
	Want   string `json:"want"`   // what it has to be
	Name   string `json:"name"`   // the field by which people tell entries apart
	Of     string `json:"of"`     // what the entries are, as "endpoint"
}

func (q Question) String() string { return "every " + q.Of + " is " + q.Want }

// Workload names a Deployment or DaemonSet that has to be rolled out.
type Workload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	With      string `json:"with"` // the optional image without which there is none
}

func (w Workload) String() string { return w.Kind + " " + w.Namespace + "/" + w.Name }
