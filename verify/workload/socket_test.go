package workload

import (
	"strings"
	"testing"
)

// TestSocketFitsItsAddress: a Node's name has up to 63 characters, and its agents' sockets are
// dialled by /proc/<pid>/root, where an address has room for 107 bytes.
func TestSocketFitsItsAddress(t *testing.T) {
	seen := map[string]bool{}
	for _, namespace := range []string{Namespace, GuestsNamespace} {
		for _, pod := range []string{"echo-w1", "echo-" + strings.Repeat("a", 63), "echo-" + strings.Repeat("a", 63) + "-b", "echo-" + strings.Repeat("a", 62) + "b", NodeAgent(strings.Repeat("a", 63))} {
			path := Socket(namespace, pod)
			if len("/proc/4194304/root"+path) > 107 || !strings.HasSuffix(path, ".sock") {
				t.Errorf("%s has %d bytes", path, len(path))
			}
			if seen[path] {
				t.Errorf("%s is the socket of two Pods", path)
			}
			seen[path] = true
		}
	}
	if got := Socket(Namespace, "echo-w1"); got != "/run/netlab/agents/netlab-verify_echo-w1.sock" {
		t.Errorf("a short name is changed: %s", got)
	}
}
