// Package labs is the lab file: its types, strict decoding, defaults and
// validation. It takes the bytes of a YAML file and gives a Lab in which every
// field is set and every reference holds, or all the problems at once. Addresses are
// not its to give: what their allocation finds wrong comes in by a Check. It knows
// nothing of interfaces, images or running machines.
package labs

import (
	"net/netip"
	"time"
)

// APIVersion and Kind open every lab file, so that a file of another tool (ipSpace
// netlab's topology files among them) is told apart at its first line.
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
	RoleAPILB        = "api-lb" // in front of several control planes
)

// ProviderLibvirt is the provider whose Nodes are virtual machines.
const ProviderLibvirt = "libvirt"

// None as the name of a load balancer or an Ingress controller switches it off.
const None = "none"

// Lab is one lab file, with defaults filled in.
type Lab struct {
	APIVersion   string       `json:"apiVersion"`
	Kind         string       `json:"kind"`
	Metadata     Metadata     `json:"metadata"`
	Provider     string       `json:"provider,omitempty"`   // what runs the Nodes
	Libvirt      Libvirt      `json:"libvirt,omitempty"`    // what provider libvirt makes of them; others leave it aside
	HostAccess   bool         `json:"hostAccess,omitempty"` // the machine itself reaches Nodes and VIPs
	Kubernetes   Kubernetes   `json:"kubernetes,omitempty"`
	Networks     []Network    `json:"networks,omitempty"`
	Nodes        []NodeGroup  `json:"nodes,omitempty"`
	Hosts        []Host       `json:"hosts"` // outside the cluster; [] for none
	CNI          CNI          `json:"cni,omitempty"`
	LoadBalancer LoadBalancer `json:"loadBalancer,omitempty"`
	Ingress      Ingress      `json:"ingress,omitempty"`
	Verify       Verify       `json:"verify,omitempty"`
}

// Metadata names the lab. The name is a DNS label of at most 32 characters: it is
// part of namespace, cgroup and directory names.
type Metadata struct {
	Name Name `json:"name"`
}

// Libvirt is where virtual machines run, and what each Node's has.
type Libvirt struct {
	URI    string `json:"uri,omitempty"`    // of the hypervisor, on this machine or another; "": $LIBVIRT_DEFAULT_URI, or qemu:///system
	Images string `json:"images,omitempty"` // directory of the hypervisor below which a lab has its storage pool
	CPUs   int    `json:"cpus,omitempty"`
	Memory Size   `json:"memory,omitempty"`
	Disk   Size   `json:"disk,omitempty"` // at most; it takes what the Node has written
	Image  Image  `json:"image,omitzero"` // what machines boot; none: the disk that netlab makes of Debian
}

// Image is a cloud image, with the checksum that its publisher lists beside it: exactly one.
type Image struct {
	URL    string `json:"url"`              // https, http or file; a disk in format qcow2
	SHA256 string `json:"sha256,omitempty"` // in hexadecimal
	SHA512 string `json:"sha512,omitempty"` // in hexadecimal
}

// Kubernetes is the cluster as such.
type Kubernetes struct {
	Version     string       `json:"version,omitempty"`     // of the form v1.37.2
	PodCIDR     netip.Prefix `json:"podCIDR,omitempty"`     // each Node gets a /24 of it
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitempty"` // ClusterIPs
	Proxy       string       `json:"proxy,omitempty"`       // kube-proxy mode: nftables, iptables, ipvs or none
}

// Network is one broadcast domain: a Linux bridge.
type Network struct {
	Name string       `json:"name"`
	CIDR netip.Prefix `json:"cidr"`
	MTU  int          `json:"mtu,omitempty"` // bytes of IP packet; 1500 unless told
	// Bridge is one of the machine's own that the network is joined with, as for a real LAN;
	// "" for a network that is the lab's alone.
	Bridge string `json:"bridge,omitempty"`
	VLAN   int    `json:"vlan,omitempty"` // of Bridge, whose 802.1Q tag the network's frames have there; none: they have no tag
}

// NodeGroup is one Node, or Count alike ones named Name1, Name2, …
type NodeGroup struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`               // control-plane or worker
	Count    int      `json:"count,omitempty"`    // 0: one Node, named Name itself
	Networks []string `json:"networks,omitempty"` // eth0, eth1, …; all Nodes share the first
	// Hypervisor places virtual machines on another machine's: its name, or libvirt's URI
	// qemu+ssh://[user@]host[:port]/system; "" for libvirt.uri's. See type Hypervisor.
	Hypervisor string `json:"hypervisor,omitempty" was:"host"` // name or qemu+ssh URI of another machine's hypervisor (provider libvirt)
}

// Host is a machine outside the cluster.
type Host struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`               // router, client, internet or api-lb
	Networks []string `json:"networks,omitempty"` // eth0, eth1, …
}

// CNI selects the Pod network by its component folder.
type CNI struct {
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Options map[string]string `json:"options,omitempty"` // those that the CNI has
}

// LoadBalancer selects what gives Services of type LoadBalancer their VIPs.
type LoadBalancer struct {
	Name    string   `json:"name,omitempty"` // "none" for none
	Version string   `json:"version,omitempty"`
	Mode    string   `json:"mode,omitempty"`  // how VIPs are announced
	Pools   []string `json:"pools,omitempty"` // "first-last" or a CIDR, each inside one network; none: one in the first
}

// Ingress selects the Ingress controller.
type Ingress struct {
	Name    string `json:"name,omitempty"` // "none" for none
	Version string `json:"version,omitempty"`
	Service string `json:"service,omitempty"` // LoadBalancer or NodePort
}

// Verify tunes the verification.
type Verify struct {
	Throughput Throughput `json:"throughput,omitempty"`
}

// Throughput tunes the measurements of `netlab verify --throughput` and `--latency`.
type Throughput struct {
	Duration Duration `json:"duration,omitempty"` // of each measurement, in whole seconds
	Streams  []int    `json:"streams,omitempty"`  // parallel streams; one measurement for each number
	Repeats  int      `json:"repeats,omitempty"`  // of each measurement; an interval of 95 % takes 6
	Min      Rate     `json:"min,omitempty"`      // a route with a lower TCP median fails
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

// Rate is in bits per second. It is written as a number and one of bit, kbit, Mbit, Gbit
// and Tbit, each a thousand of the one before: "500Mbit", "1.5Gbit".
type Rate int64

// Size is in bytes. It is written as a number and one of MiB, GiB and TiB: "1536MiB",
// "8GiB".
type Size int64
