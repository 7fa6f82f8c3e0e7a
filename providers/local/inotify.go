package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"netlab.dev/netlab/topology"
)

// inotifyPerNode is the number of instances that a Node's containerd, kubelet, kube-proxy and Pods
// open: a lab of three Nodes had 43.
const inotifyPerNode = 15

// inotifyNeed: all of root's processes share fs.inotify.max_user_instances, which is 128
// on many machines; beyond it kube-proxy and others fail.
func inotifyNeed(plan topology.Plan) need {
	const sysctl = "fs.inotify.max_user_instances"
	limit, known := numberOf(sysctl)
	if !known {
		return need{met: true}
	}
	wanted := 0
	for _, m := range plan.Nodes() {
		if len(InCgroups(plan.Lab, m.Name)) == 0 {
			wanted += inotifyPerNode
		}
	}
	used := inotifyUsed()
	return need{used+wanted <= limit,
		fmt.Sprintf("the lab's Nodes open about %d inotify instances; root may have %d and has %d open", wanted, limit, used),
		fmt.Sprintf("sysctl -w %s=%d", sysctl, roomFor(512, used+wanted))}
}

// inotifyUsed counts the inotify instances that root's processes have open.
func inotifyUsed() int {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	used := 0
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == "anon_inode:inotify" {
			used++
		}
	}
	return used
}

// numberOf reads a sysctl that is a number.
func numberOf(sysctl string) (value int, known bool) {
	data, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
	value, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
	return value, err == nil && convErr == nil
}

// roomFor is the smallest power of two times a minimum that a number fits into.
func roomFor(minimum, number int) int {
	for minimum < number {
		minimum *= 2
	}
	return minimum
}
