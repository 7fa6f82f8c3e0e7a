package run

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
)

// policyResources are the resources of the policies that are not NetworkPolicies.
func (o Options) policyResources() []schema.GroupVersionResource {
	var all []schema.GroupVersionResource
	for _, p := range o.Policies {
		if r := resourceOf(&p); !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

func (o Options) wait(plan topology.Plan) time.Duration {
	if o.Wait > 0 {
		return o.Wait
	}
	return plan.Limit(time.Minute, 10*time.Minute)
}

// say reports progress, if Progress is set.
func (o Options) say(what string) {
	if o.Progress != nil {
		o.Progress(what)
	}
}

func (o Options) settle(plan topology.Plan) time.Duration {
	if o.Settle > 0 {
		return o.Settle
	}
	return plan.Limit(6*time.Second, time.Minute)
}

// Options are the inputs of Prepare and Run that the lab's plan does not hold.
type Options struct {
	Support    components.Support
	Installed  observe.Installed                    // the components' workloads
	Agent      string                               // reference of the agent image, which every Node has
	CNIVersion string                               // for the report
	Policies   map[string]unstructured.Unstructured // checks.OwnPolicies
	Wait       time.Duration                        // for agents, VIPs and endpoints to be ready; default 60 s
	Settle     time.Duration                        // how long a path that should work is retried; default 6 s
	Evidence   bool                                 // capture packets of every path; else only of those that fail
	Pcap       string                               // directory for a capture file of each path; "" for none
	Extent     checks.Extent                        // how much is verified
	Paths      []labs.Path                          // of the user's
	Throughput []string                             // routes to measure, of Routes(); default none
	Latency    []string                             // likewise
	Progress   func(string)                         // receives what is measured now; may be nil
}
