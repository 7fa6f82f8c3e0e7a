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

// silent reports whether the cluster has not heard from a Node's kubelet for so long that the
// state of its Pods is unknown: 40 s (node-monitor-grace-period of kube-controller-manager).
func silent(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
}

// awayOf says of each machine that is off, and of each Node that is not registered or whose kubelet
// is silent, that it is. A kubelet whose Node was deleted does not register it again.
func (s State) awayOf(plan topology.Plan) map[string]string {
	away := map[string]string{}
	for _, m := range plan.Machines {
		switch n := s.Node(m.Name); {
		case n == nil && m.Kind == topology.KindNode:
			away[m.Name] = "Node " + m.Name + " is not registered: its kubelet registers when it starts"
		case n != nil && silent(n):
			away[m.Name] = NodeTrouble(n)
		}
		if s.IsOff(m.Name) {
			away[m.Name] = m.Name + " is off"
		}
	}
	return away
}

// nodeAway reports whether a Node is off, silent or not registered.
func (s State) nodeAway(plan topology.Plan) bool {
	away := s.awayOf(plan)
	return slices.ContainsFunc(plan.Nodes(), func(m topology.Machine) bool { return away[m.Name] != "" })
}
