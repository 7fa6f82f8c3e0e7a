package report

// The kinds of a Ref.
const (
	AtPod       = "pod"
	AtContainer = "container" // the second container of a Pod
	AtNode      = "node"
	AtHost      = "host"
	AtService   = "service"  // by its ClusterIP
	AtNodePort  = "nodeport" // Name is the Service, or the Pod of a hostPort, Node the Node that is requested
	AtVIP       = "vip"
	AtIngress   = "ingress" // Name is host/path
	AtName      = "name"    // a DNS name
	AtAddress   = "address" // an address or name that is not known to be of the lab
)
