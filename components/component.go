// Package components is where a lab's software comes from. Each folder below it is
// one upstream: its pin, how to obtain it, chart and values, what it supports and
// when it is ready, all of it data in component.yaml. The package takes a
// topology.Plan and gives the set of components that the plan needs (Resolve),
// makes that set present in a cache (Obtain), and renders what is installed into
// the cluster (Objects). It starts no part of a lab and knows no provider.
package components

import "io/fs"

// Step begins a named, timed step of progress; the caller ends it with its error.
// Steps may overlap; it is called from several goroutines.
type Step func(name string) (done func(error))

// Artifacts are a resolved set, present in the cache: what a provider makes machines of.
type Artifacts struct {
	// Rootfs is the node image unpacked: overlay lower directories, the topmost first. It is
	// empty with an upstream's.
	Rootfs []string `json:"rootfs"`
	// Node is the same node image, packed.
	Node NodeImage `json:"node"`
	// Store is a containerd root directory with every image of the set imported and
	// unpacked. It is immutable: clone it by hard links, copying the *.db files.
	Store string `json:"store"`
	// Images are the references that Store holds.
	Images []string `json:"images"`
	// Layouts are the OCI layout directories of Images, by reference.
	Layouts map[string]string `json:"layouts,omitempty"`
	// Programs are host-side executables by name: runc, containerd, ctr, kubectl, kubeadm. With
	// an upstream's node image there are those that its Upstream names.
	Programs map[string]string `json:"programs"`
	// Caches are directories of the cache that Nodes write to, by their path in the Node.
	Caches map[string]string `json:"caches,omitempty"`
	// Disk is what virtual machines start from, where the plan has any.
	Disk Disk `json:"disk,omitzero"`
	// HAProxy is the root of a file system with haproxy, but for what Debian has; where the
	// plan has a load balancer.
	HAProxy string `json:"haproxy,omitempty"`
	// DebianBase is the Debian base unpacked, where Rootfs is not there to hold it.
	DebianBase string `json:"debianBase,omitempty"`
	// Self is the netlab executable, at a path that stays when the user replaces theirs.
	Self string `json:"self"`
	// Agent is the reference of the verification agent's image.
	Agent string `json:"agent"`
	// Lacking tells by reference why an optional image is not among Images.
	Lacking map[string]string `json:"lacking,omitempty"`
}

// Debian is the root of a whole Debian file system, that of the Debian base, which is the
// lowest layer of the node image. It is "" where nothing is unpacked.
func (s Artifacts) Debian() string {
	if len(s.Rootfs) == 0 {
		return s.DebianBase
	}
	return s.Rootfs[len(s.Rootfs)-1]
}

// Resolver obtains components. Cache is a directory; Self the running executable.
type Resolver struct {
	Catalog Catalog
	Cache   string
	Self    string
	Offline bool // no registry is asked
	// NodeImage is the repository that an Upstream is pulled from in place of its own, such
	// as a mirror's; "" for none.
	NodeImage string
	// Before are the Artifacts of a lab whose Nodes run, the zero value for a lab to be made:
	// their images are the ones they were made with, so that optional ones are had again or
	// not at all.
	Before Artifacts
	// KernelHas reports whether the kernel under the Nodes offers a feature, by its option
	// and its module; nil: it has all.
	KernelHas func(option, module string) bool
}

// Support is what the lab's CNI claims, and so what the paths expect of it.
type Support struct {
	NetworkPolicy bool   `json:"networkPolicy"`
	L7Policy      bool   `json:"l7Policy"`
	L7Reason      string `json:"l7Reason,omitempty"` // why not, where L7Policy is false
	RoutesPodCIDR bool   `json:"routesPodCIDR"`      // outside routers learn Pod routes (BGP)
	EncapOverhead int    `json:"encapOverhead"`      // bytes a packet between Nodes grows by; Pod MTU = network MTU - this
	ReplacesProxy bool   `json:"replacesProxy"`
	ServesPods    bool   `json:"servesPods"` // it answers for Services that Pods ask, kube-proxy or not
}

// The kinds of a Component. Those of KindBase are part of every lab; of each other
// kind the lab selects one by name, or none; those of KindMachine come with virtual
// machines, those of KindHost with an outside host of a role of their own.
const (
	KindBase         = "base"
	KindCNI          = "cni"
	KindLoadBalancer = "loadBalancer"
	KindIngress      = "ingress"
	KindMachine      = "machine"
	KindHost         = "host"
)

// selfVersion stands where a version or tag follows from the netlab executable.
const selfVersion = "self"

// Self reports that a component is made of the netlab executable, and has no version of
// its own.
func (k Component) Self() bool { return k.Version == selfVersion }

// Component is one folder: component.yaml and the files beside it. Beside it may be
// values.yaml (the chart's values), patches.yaml (strategic merge patches of what chart
// or manifest give), once.yaml (keys and certificates that it finds made),
// objects.yaml (our configuration of what was installed) and supports.yaml (Support);
// these are templates over View. l7policy.yaml is one over HTTPRule.
type Component struct {
	Name       string    `json:"-"` // the folder
	Kind       string    `json:"kind"`
	Version    string    `json:"version"`
	About      string    `json:"about"`
	Source     string    `json:"source"`
	Kubernetes []string  `json:"kubernetes"` // minor versions it works with, as "v1.37"; none: all
	Tested     *Tested   `json:"tested"`
	Warns      []Warning `json:"warns"`
	Needs      []Need    `json:"needs"`
	Builds     []Build   `json:"builds"`
	Programs   []string  `json:"programs"` // build outputs that netlab itself runs
	Layers     []Layer   `json:"layers"`
	Images     []Image   `json:"images"`
	// Caches are directories of Nodes, by name: one of the cache, for all labs alike, for
	// what is worked out when they run and is the same wherever it is.
	Caches  map[string]string   `json:"caches"`
	Install *Install            `json:"install"`
	Options map[string][]string `json:"options"` // option → allowed values, the first the default
	Modes   []string            `json:"modes"`   // loadBalancer.mode or ingress.service, the first the default
	Lacks   []string            `json:"lacks"`   // what our build does not do that upstream's image does
	Notice  string              `json:"notice"`  // told at every `up`

	files fs.FS
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

// Build makes executables from a Go module, in a module of its own, so that the
// dependencies of two components never meet; or it only keeps Copies of files.
type Build struct {
	Name     string              `json:"name"`
	Seconds  int                 `json:"seconds"`  // cold, on two cores: the longest starts first
	Module   string              `json:"module"`   // none: our own source alone
	Version  string              `json:"version"`  // of Module; the component's unless told
	Requires map[string][]string `json:"requires"` // version → modules
	// Replaces are module → "module version", or "./dir" of Own; that directory's go.mod
	// is made, for a module inside a module could not be part of the executable.
	Replaces map[string]string `json:"replaces"`
	// Edits change files of Module, by their path in it: a copy of the module is built.
	Edits map[string][]Edit `json:"edits,omitempty"`
	// Inside builds in the module's own directory, with its own go.mod and go.sum.
	Inside   bool              `json:"inside"`
	Own      string            `json:"own"`      // directory of the component with our main, copied beside go.mod
	Packages map[string]string `json:"packages"` // output → package
	Links    map[string]string `json:"links"`    // further name → output, where the name it is called by matters
	Copies   map[string]string `json:"copies"`   // name → path in the module, kept as it is: charts and the like
	CGO      bool              `json:"cgo"`
	Tags     []string          `json:"tags"`
	LDFlags  string            `json:"ldflags"` // $VERSION, $MAJOR and $MINOR are the component's
}

// Layer is one file-system layer that several images share.
type Layer struct {
	Name     string  `json:"name"`
	Seconds  int     `json:"seconds"` // as in Build
	Debian   *Debian `json:"debian"`
	Contents `json:",inline"`
}

// Debian is a file system made of Debian packages.
type Debian struct {
	Suite    string   `json:"suite"`
	Over     string   `json:"over"` // "component/layer" to install into; none: a new root
	Packages []string `json:"packages"`
	Exclude  []string `json:"exclude"` // path patterns of dpkg's path-exclude
}

// Contents are files put into a layer.
type Contents struct {
	Dirs  []Dir             `json:"dirs"`
	Files []File            `json:"files"`
	Links map[string]string `json:"links"` // path → target
}

// Dir is a directory; parents are made as needed.
type Dir struct {
	Path string `json:"path"`
	Mode int64  `json:"mode"` // 0755 unless told
	UID  int    `json:"uid"`
}

// File is a file or a tree, from one of five places.
type File struct {
	To    string `json:"to"`
	Build string `json:"build"` // "component/output"
	Copy  string `json:"copy"`  // "component/name" of Build.Copies, or a path below it
	Own   string `json:"own"`   // path in the component's folder
	Text  string `json:"text"`
	Self  bool   `json:"self"` // the netlab executable
	Mode  int64  `json:"mode"` // of a single file; unless told 0755 for what is executable, else 0644
	UID   int    `json:"uid"`
	// Edits change a copied file in this order; each has to find its place.
	Edits []Edit `json:"edits"`
}

// Edit replaces what a regular expression finds, by the rules of regexp.Expand.
type Edit struct {
	Find string `json:"find"`
	Put  string `json:"put"`
}

// Image is an OCI image under upstream's own name.
type Image struct {
	Name       string   `json:"name"`
	Tag        string   `json:"tag"`  // the component's version unless told; "self": 12 hex digits of netlab's sha256
	Node       bool     `json:"node"` // the node image: unpacked for machines, not part of the store
	From       []string `json:"from"` // "component/layer", the lowest first
	Contents   `json:",inline"`
	Entrypoint []string `json:"entrypoint"`
	Cmd        []string `json:"cmd"`
	Env        []string `json:"env"`
	User       string   `json:"user"`
	WorkingDir string   `json:"workingDir"`

	// Over is what a node image is laid over.
	Over *Upstream `json:"over,omitempty"`

	// Pull is the digest of an image that cannot be built here and is had from the registry
	// of its name, or not at all. Such an image is Optional: by that name templates and
	// other fields ask for it, and Without is what the component lacks where it is not had.
	Pull     string `json:"pull,omitempty"`
	Optional string `json:"optional,omitempty"`
	Without  string `json:"without,omitempty"`
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
