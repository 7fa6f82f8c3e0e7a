package local

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"netlab.dev/netlab/topology"
)

// neighborsPerNode is what a Node adds besides the other Nodes: its Pods, which it knows and which
// know it, and the outside hosts.
const neighborsPerNode = 8

const neighborSysctl = "net.ipv4.neigh.default.gc_thresh"

// neighborNeed: all Nodes share the kernel's ARP table, of net.ipv4.neigh.default.gc_thresh3 entries,
// which is 1024 on most machines; in a full one a new address has no MAC, and packets to it are lost.
// Each Node comes to know every other one: load balancer and API server see to it.
func neighborNeed(plan topology.Plan) need {
	limit, known := numberOf(neighborSysctl + "3") // the machine's own network namespace has it
	if !known {
		return need{met: true}
	}
	all, run := 0, 0
	for _, m := range plan.Nodes() {
		if m.OwnKernel {
			continue
		}
		all++
		if len(InCgroups(plan.Lab, m.Name)) > 0 {
			run++
		}
	}
	return neighborsWithin(limit, neighborsUsed(), all, run)
}

// neighborsWithin is the need of a lab of all Nodes, of which some run: their entries are among those
// that are used, as are other labs'.
func neighborsWithin(limit, used, all, run int) need {
	of := func(nodes int) int { return nodes * (nodes - 1 + neighborsPerNode) }
	wanted := of(all) - of(run)
	room := roomFor(2048, 2*(used+wanted))
	return need{wanted == 0 || used+wanted <= limit,
		fmt.Sprintf("the lab's %d Nodes fill about %d more entries of the ARP table, which they share with the machine; it has room for %d and has %d", all, wanted, limit, used),
		fmt.Sprintf("sysctl -w %[1]s2=%[2]d %[1]s3=%[3]d", neighborSysctl, room/2, room)}
}

// neighborsUsed is the number of entries that the table has: of all network namespaces.
func neighborsUsed() int {
	data, _ := os.ReadFile("/proc/net/stat/arp_cache")
	_, rows, _ := strings.Cut(string(data), "\n")
	first, _, _ := strings.Cut(rows, " ")
	used, _ := strconv.ParseInt(first, 16, 64) // 0 where the kernel does not tell
	return int(used)
}
