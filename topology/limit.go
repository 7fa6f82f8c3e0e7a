package topology

import "time"

// fewNodes is the number of Nodes up to which the limits of a lab's steps are the usual ones.
const fewNodes = 8

// Limit returns how long a step may take in this lab: usual, or emulated where Nodes are, and in
// a lab of more than a few Nodes in proportion to their number, since they share the processors of
// one machine.
func (p Plan) Limit(usual, emulated time.Duration) time.Duration {
	limit := usual
	if p.Capabilities.Emulated {
		limit = emulated
	}
	return limit * time.Duration(max(len(p.Nodes()), fewNodes)) / fewNodes
}
