package run

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
)

// policyResources are those of the policies that are no NetworkPolicies.
func (o Options) policyResources() []schema.GroupVersionResource {
	if len(o.L7Policy.Object) == 0 {
		return nil
	}
	return []schema.GroupVersionResource{resourceOf(&o.L7Policy)}
}

func (o Options) wait(plan topology.Plan) time.Duration {
	if o.Wait > 0 {
		return o.Wait
	}
	return time.Minute * observe.Patience(plan)
}

// say tells what is done now, where someone wants to know.
func (o Options) say(what string) {
	if o.Progress != nil {
		o.Progress(what)
	}
}

func (o Options) settle(plan topology.Plan) time.Duration {
	if o.Settle > 0 {
		return o.Settle
	}
	return 6 * time.Second * observe.Patience(plan)
}

// Options tells Prepare and Run what the lab's plan does not.
type Options struct {
	Support    components.Support
	Agent      string                    // reference of the agent's image, present on every Node
	CNIVersion string                    // for the report
	L7Policy   unstructured.Unstructured // what enforces L7Rule, where Support has L7Policy
	Wait       time.Duration             // for agents, VIPs and endpoints to be there; 60 s unless told
	Settle     time.Duration             // how long a path that should work is tried again; 6 s unless told
	Evidence   bool                      // tell of every path how its packets went; else only of those that fail
	Pcap       string                    // directory for a capture file of each path; "" for none
	Throughput []string                  // routes to measure, of Routes(); none unless told
	Latency    []string                  // likewise
	Progress   func(string)              // is told what is measured now; may be nil
}
