package observe

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/topology"
)

// IsOff reports whether a machine is off.
func (s State) IsOff(machine string) bool { return slices.Contains(s.Off, machine) }

// IsOff reports whether a machine is off.
func (s Snapshot) IsOff(machine string) bool { return slices.Contains(s.Off, machine) }

// AwayOf says of each machine that is off, and of each Node that is not registered or not Ready,
// that it is.
func (s State) AwayOf(plan topology.Plan) map[string]string {
	away := map[string]string{}
	for _, m := range plan.Machines {
		n := s.Node(m.Name)
		switch {
		case s.IsOff(m.Name):
			away[m.Name] = m.Name + " is off"
		case m.Kind != topology.KindNode:
		case n == nil:
			away[m.Name] = "Node " + m.Name + " is not registered: its kubelet registers when it starts"
		case NodeTrouble(n) != "":
			away[m.Name] = NodeTrouble(n)
		}
	}
	return away
}

// gone reports whether what runs on a Node does not come back by waiting: the Node is off, or not
// registered. A kubelet whose Node was deleted does not register it again, and the cluster deletes
// the Node's Pods.
func (s State) gone(node string) bool { return s.IsOff(node) || s.Node(node) == nil }

// silent reports whether the cluster has not heard from a Node's kubelet for so long that the state
// of its Pods is unknown: 40 s (node-monitor-grace-period of kube-controller-manager).
func (s State) silent(node string) bool {
	n := s.Node(node)
	return n != nil && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
}

// nodeAway reports whether a Node is off, not registered or not Ready.
func (s State) nodeAway(plan topology.Plan) bool {
	away := s.AwayOf(plan)
	return slices.ContainsFunc(plan.Nodes(), func(m topology.Machine) bool { return away[m.Name] != "" })
}
