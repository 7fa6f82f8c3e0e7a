package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/providertest"
)

// stopped: a lab that is stopped takes nothing of the machine but its files, says what it
// is, and comes back by `start`, and by `up`, with every path as it was. What was merged into
// the user's kubeconfig stays good.
func (b *lab) stopped(t *testing.T) {
	b.up(t)
	config := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", config)
	if out := b.run(t, 0, "kubeconfig", b.name, "--merge"); out != b.name+"\n" {
		t.Errorf("kubeconfig --merge says %q", out)
	}
	pods := b.kubectl(t, "get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}")

	if out := b.run(t, 0, "stop", b.name); !strings.Contains(out, "is stopped (") {
		t.Errorf("stop says %q", out)
	}
	providertest.NothingLeft(t, b.before, b.name)
	if out := b.run(t, 0, "stop", b.name); !strings.Contains(out, "is stopped already") {
		t.Errorf("a second stop says %q", out)
	}
	if out := b.run(t, 0, "list"); !strings.Contains(out, " stopped ") {
		t.Errorf("list says %q", out)
	}
	if out := b.run(t, 1, "status", b.name); !strings.Contains(out, b.name+": stopped (") || strings.Contains(out, " yes") {
		t.Errorf("status says\n%s", out)
	}
	for _, args := range [][]string{{"exec", b.name, "cp", "--", "true"}, {"verify", b.name}, {"kubectl", b.name, "--", "get", "nodes"}} {
		if _, stderr := b.output(t, 2, args...); stderr != "error: lab "+b.name+" is stopped\nhint: `netlab start "+b.name+"` starts it\n" {
			t.Errorf("%s of a stopped lab says %q", args[0], stderr)
		}
	}

	b.run(t, 0, "start", b.name)
	if is := b.kubectl(t, "--kubeconfig", config, "--context", b.name, "get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}"); !sameWords(is, pods) {
		t.Errorf("Pods were %s, and are %s", pods, is)
	}
	b.passes(t)
	if out := b.run(t, 0, "start", b.name); !strings.Contains(out, "runs already") {
		t.Errorf("a second start says %q", out)
	}
	b.run(t, 0, "stop", b.name)
	t.Run("newer netlab", b.newer)

	b.run(t, 0, "kubeconfig", b.name, "--unmerge")
	if _, err := os.Stat(config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the kubeconfig that was made for the lab is left (%v)", err)
	}
}

// newer: another build of netlab does not ask agents that are not its own. Its `up` puts its
// agents in their place, in Nodes and outside hosts that were made before, and starts a lab
// that is stopped with them; with a lab that runs so does the first one's.
func (b *lab) newer(t *testing.T) {
	first, second := b.labs, *b.labs
	second.netlab = filepath.Join(t.TempDir(), "netlab")
	second.build(t, "-ldflags", "-s -w")
	defer func() { b.labs = first }()
	was := ""
	for _, turn := range []struct{ of, other *labs }{{&second, first}, {first, &second}} {
		b.labs = turn.of
		if out := b.run(t, 0, "plan", b.file); !strings.HasSuffix(out, "  configure verification agents, which are another netlab's\n") {
			t.Errorf("plan says %q", out[max(0, len(out)-300):])
		}
		_, progress := b.output(t, 0, "up", b.file) // every path as expected
		t.Logf("up by another netlab:\n%s", progress)
		for _, node := range []string{"cp", "w1", "w2"} {
			if loaded := strings.Contains(progress, "load into "+node+": netlab.dev/agent:"); loaded != (turn.of == &second) {
				t.Errorf("the agent is loaded into %s: %t, in\n%s", node, loaded, progress)
			}
		}
		is, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", b.pids(t, "agent", "serve", "--name", "client")[0]))
		if err != nil || is == was {
			t.Errorf("the agent of client runs %s, and ran %s (%v)", is, was, err)
		}
		was = is
		if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
			t.Errorf("a second up says %q", out)
		}
		b.labs = turn.other
		want := "error: the agents of lab " + b.name + " are another netlab's, and may not understand this one\nhint: `netlab up " + b.file + "` puts this one's in their place\n"
		for _, args := range [][]string{{"verify", b.name}, {"trace", b.name, "client", "echo-lb"}} {
			if _, stderr := b.output(t, 2, args...); stderr != want {
				t.Errorf("%s by another netlab says %q", args[0], stderr)
			}
		}
	}
}

// sameWords: the order apart, both have the same words.
func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
