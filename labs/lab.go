// Package labs is the lab file: its types, strict decoding, defaults and validation. It
// takes the bytes of a YAML file and returns a Lab in which every field is set and every
// reference is valid, or all problems at once. It does not allocate addresses: problems of
// the allocation are added by a Check. It has no knowledge of interfaces, images or running
// machines.
package labs

import (
	"net/netip"
	"time"
)

// APIVersion and Kind are the header of every lab file, so that a file of another tool (such
// as a topology file of ipSpace netlab) is recognized by its first line.
const (
	APIVersion = "netlab/v1alpha1"
	Kind       = "Lab"
)

// The roles of Nodes (the first two) and of hosts outside the cluster.
const (
	RoleControlPlane = "control-plane"
	RoleWorker       = "worker"
	RoleRouter       = "router"
	RoleClient       = "client"
	RoleInternet     = "internet"
	RoleAPILB        = "api-lb"        // in front of several control planes
	RoleLoadBalancer = "load-balancer" // in front of the ingress controller's NodePorts
	RoleCloud        = "cloud"         // a provider's load balancer and cloud controller
)

// None as the name of a load balancer or an Ingress controller disables it.
const None = "none"

// Lab is one lab file, with defaults filled in.
type Lab struct {
	APIVersion   string       `json:"apiVersion"`
	Kind         string       `json:"kind"`
	Metadata     Metadata     `json:"metadata"`
	Provider     string       `json:"provider,omitempty"`   // runs the Nodes: netns, kind or libvirt
	HostAccess   bool         `json:"hostAccess,omitempty"` // this machine reaches Nodes and VIPs
	Kubernetes   Kubernetes   `json:"kubernetes,omitempty"`
	Networks     []Network    `json:"networks,omitempty"`
	Nodes        []NodeGroup  `json:"nodes,omitempty"`
	Hosts        []Host       `json:"hosts"` // outside the cluster; [] for none
	CNI          CNI          `json:"cni,omitempty"`
	LoadBalancer LoadBalancer `json:"loadBalancer,omitempty"`
	Ingress      Ingress      `json:"ingress,omitempty"`
	Images       []string     `json:"images,omitempty"`    // images for your own workloads that the lab holds
	Manifests    []Manifest   `json:"manifests,omitempty"` // your own objects, applied when all components are ready
	Verify       Verify       `json:"verify,omitempty"`
	Limits       Limits       `json:"limits,omitempty"` // of the machine's resources

	// Sections are the settings of each provider: a field of the provider\'s name. They are
	// ignored where the lab has another provider.
	Sections map[string]Settings `json:"-"`
	// Services are what hosts of each role run, by the names of components.
	Services map[string][]string `json:"-"`
}

// Metadata names the lab. The name is a DNS label of at most 32 characters: it is
// part of namespace, cgroup and directory names.
type Metadata struct {
	Name Name `json:"name"`
}

// Image is a cloud image, with exactly one checksum, as listed by its publisher.
type Image struct {
	URL    string `json:"url"`                                                      // https, http or file; a disk in format qcow2
	SHA256 string `json:"sha256,omitempty" jsonschema:"pattern=^[0-9a-fA-F]{64}$"`  // in hexadecimal
	SHA512 string `json:"sha512,omitempty" jsonschema:"pattern=^[0-9a-fA-F]{128}$"` // in hexadecimal
}

// Kubernetes is the cluster.
type Kubernetes struct {
	Version     string       `json:"version,omitempty"`     // of the form v1.37.2
	PodCIDR     netip.Prefix `json:"podCIDR,omitempty"`     // each Node gets a /24 of it
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitempty"` // ClusterIPs
	Proxy       string       `json:"proxy,omitempty"`       // kube-proxy mode: nftables, iptables, ipvs or none
}

// Network is one broadcast domain: a Linux bridge.
type Network struct {
	Name    string       `json:"name"`
	CIDR    netip.Prefix `json:"cidr"`
	MTU     int          `json:"mtu,omitempty"`    // bytes of an IP packet; default: 1500
	Bridge  string       `json:"bridge,omitempty"` // bridge of this machine that the network is connected to, such as a real LAN's; default: none
	VLAN    int          `json:"vlan,omitempty"`   // VLAN (802.1Q) of the network on bridge; default: untagged
	Gateway netip.Addr   `json:"gateway,omitzero"` // existing router on bridge, the default gateway of machines; default: the lab's router
	Impair  Impairment   `json:"impair,omitzero"`  // of each machine's link to the network, in each direction; default: none
}

// Impairment is what makes a link worse. A packet from one machine to another crosses the links of both:
// delay counts twice on its way, and four times in the round trip.
type Impairment struct {
	Delay  Duration `json:"delay,omitzero"`  // that each packet waits; default: none
	Jitter Duration `json:"jitter,omitzero"` // by which the delay of each packet is shorter or longer, at most the delay; packets may overtake each other; default: none
	Loss   Percent  `json:"loss,omitzero"`   // of packets, at random; default: none
	Rate   Rate     `json:"rate,omitzero"`   // with Ethernet headers; default: unlimited
}

// NodeGroup is one Node, or count equal Nodes with a number appended to name.
type NodeGroup struct {
	Name       string   `json:"name"`
	Role       string   `json:"role"`                            // control-plane or worker
	Count      int      `json:"count,omitempty"`                 // default: one Node without a number
	Networks   []string `json:"networks,omitempty"`              // eth0, eth1, …; all Nodes share the first
	Hypervisor string   `json:"hypervisor,omitempty" was:"host"` // host name, or URI qemu+ssh://[user@]host[:port]/system, of another machine's hypervisor (provider libvirt); default: libvirt.uri
}

// Host is a machine outside the cluster.
type Host struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`               // router, client, internet, api-lb, load-balancer or cloud
	Networks []string `json:"networks,omitempty"` // eth0, eth1, …
	Routing  *Routing `json:"routing,omitempty"`  // of a router: dynamic routing; default: static routes
	// VRRP has hosts of one role share a VIP on a network, which one of them holds, by keepalived: load
	// balancers on their first network, routers as the gateway of each of theirs.
	VRRP bool `json:"vrrp,omitempty"`
}

// Routing is the dynamic routing of a router, by FRR. Routers announce their networks to each other.
type Routing struct {
	ASN       uint32   `json:"asn,omitempty"`       // number of its autonomous system; default: 64500 for the first router, from 64502 on for others
	Protocols []string `json:"protocols,omitempty"` // bgp, and bfd, which notices within a second that a neighbor is dead; default: both
	Neighbors []string `json:"neighbors"`           // routers that it has sessions with, [] for none; default: all of other systems on its networks
}

// CNI selects the Pod network.
type CNI struct {
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Options map[string]string `json:"options,omitempty"` // options of the CNI
}

// LoadBalancer selects the implementation of Services of type LoadBalancer.
type LoadBalancer struct {
	Name    string   `json:"name,omitempty"` // "none" to disable
	Version string   `json:"version,omitempty"`
	Mode    string   `json:"mode,omitempty"`  // how VIPs are announced: l2 or bgp by Nodes, external by a host outside the cluster
	Pools   []string `json:"pools,omitempty"` // "first-last" or a CIDR: in modes l2 and external each inside one network, in mode bgp in none; default: one in the first network of the Nodes or of that host, or 198.51.100.1-198.51.100.20
	BGP     *BGP     `json:"bgp,omitempty"`   // of mode bgp
}

// BGP is how Nodes announce VIPs to the routers on the first network of the Nodes.
type BGP struct {
	ASN         uint32   `json:"asn,omitempty"`         // number of the Nodes' autonomous system
	HoldTime    Duration `json:"holdTime,omitempty"`    // after which a silent Node is dead, in whole seconds
	Password    string   `json:"password,omitempty"`    // of the sessions with Nodes, which TCP checks (RFC 2385)
	Communities []string `json:"communities,omitempty"` // of the VIPs: AS:VALUE (RFC 1997)
	// AggregationLength is that of the prefixes that VIPs are announced in: 32 announces each VIP, 24 what
	// 256 of them share.
	AggregationLength int  `json:"aggregationLength,omitempty"`
	IgnoreExcludeLB   bool `json:"ignoreExcludeLB,omitempty"` // Nodes with label node.kubernetes.io/exclude-from-external-load-balancers, as control planes, announce too
	BFD               bool `json:"bfd,omitempty"`             // BFD between routers and Nodes, where the load balancer has it
	GracefulRestart   bool `json:"gracefulRestart,omitempty"` // routes stay while what announces them restarts, where the load balancer has it
}

// Ingress selects the Ingress controller.
type Ingress struct {
	Name    string `json:"name,omitempty"` // "none" to disable
	Version string `json:"version,omitempty"`
	Service string `json:"service,omitempty"` // LoadBalancer or NodePort
	// NodePorts are those of the controller's Service. Default: 30080 and 30443 in a lab with a host of role
	// load-balancer, else any.
	NodePorts *NodePorts `json:"nodePorts,omitempty"`
	// ProxyProtocol has hosts of role load-balancer tell the controller the client's address. It then serves
	// nobody else.
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
}

// NodePorts are the ports at which every Node serves the Ingress controller.
type NodePorts struct {
	HTTP  int `json:"http,omitempty"`
	HTTPS int `json:"https,omitempty"`
}

// Manifest is a source of your own objects: a string, which is its path, or a Helm chart. Paths are
// relative to the lab file.
type Manifest struct {
	Path      string `json:"path,omitempty"`      // a YAML file, a directory of such files, or one with a kustomization.yaml
	Chart     string `json:"chart,omitempty"`     // directory or archive of a Helm chart
	Values    string `json:"values,omitempty"`    // file with values of the chart, or a block of text with them
	Release   string `json:"release,omitempty"`   // of the chart; default: the chart's name
	Namespace string `json:"namespace,omitempty"` // of the release, and of objects that name none
}

// Verify configures the verification.
type Verify struct {
	Paths      []Path     `json:"paths,omitempty"` // what your own workloads must reach, and must not
	Throughput Throughput `json:"throughput,omitempty"`
}

// Path is what one end must get from another, asked in its own network namespace.
type Path struct {
	From        string      `json:"from"`                  // NAMESPACE/NAME of a workload or Pod, a Node or an outside host
	To          string      `json:"to"`                    // NAMESPACE/NAME[:PORT] of a Service or workload, vip/NAMESPACE/NAME, ingress/HOST, a Node, an outside host, an address or a DNS name
	Protocol    string      `json:"protocol,omitempty"`    // tcp, udp, http, https or dns
	Expect      Expectation `json:"expect,omitempty"`      // reachable, denied, an HTTP status, or a DNS response code such as NXDOMAIN
	Source      string      `json:"source,omitempty"`      // address that the destination must see: preserved, or node for one of a Node's; default: any
	Certificate string      `json:"certificate,omitempty"` // of https: the DNS name that the certificate must be for, whoever signed it; default: any
	Host        string      `json:"host,omitempty"`        // of http and https: the Host header, and the server name of TLS; default: as in to
	Path        string      `json:"path,omitempty"`        // of http and https
	Within      Duration    `json:"within,omitempty"`      // for the answer
}

// Throughput configures the measurements of `netlab verify --throughput` and `--latency`.
type Throughput struct {
	Duration Duration `json:"duration,omitempty"` // of each measurement, in whole seconds
	Streams  []int    `json:"streams,omitempty"`  // numbers of parallel streams to measure with
	Repeats  int      `json:"repeats,omitempty"`  // of each measurement; a 95 % confidence interval requires 6
	Min      Rate     `json:"min,omitempty"`      // a route with a lower TCP median fails
}

// Limits are what a lab may take of this machine at most: its outside hosts, and Nodes of the
// provider netns. Virtual machines have sizes instead, and containers of kind are limited by Docker.
type Limits struct {
	Memory    Size `json:"memory,omitempty"`    // default: nine tenths of the machine's
	Processes int  `json:"processes,omitempty"` // and threads; default: half of those that the kernel allows
}

// Duration is a time.Duration written as Go writes it: "3s", "1m30s".
type Duration struct{ time.Duration }

// MarshalText writes the duration as Go writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

// Expectation is Reachable, Denied, an HTTP status, or a DNS response code.
type Expectation string

// Rate is in bits per second. It is written as a number and one of bit, kbit, Mbit, Gbit
// and Tbit, in steps of 1000: "500Mbit", "1.5Gbit".
type Rate int64

// Size is in bytes. It is written as a number and one of MiB, GiB and TiB: "1536MiB",
// "8GiB".
type Size int64
