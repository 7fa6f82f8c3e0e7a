package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newer: another build of netlab does not use agents of another build. Its `up` replaces them
// in existing Nodes and outside hosts, and starts a stopped lab with its own; the first build's
// `up` does the same with a running lab.
func (b *lab) newer(t *testing.T) {
	first, second := b.labs, *b.labs
	second.netlab = filepath.Join(t.TempDir(), "netlab")
	second.build(t, "-ldflags", "-s -w")
	defer func() { b.labs = first }()
	was := uint64(0)
	for _, turn := range []struct{ of, other *labs }{{&second, first}, {first, &second}} {
		b.labs = turn.of
		if out := b.run(t, 0, "plan", b.file); !strings.HasSuffix(out, "  configure verification agents, which are of another netlab build\n") {
			t.Errorf("plan says %q", out[max(0, len(out)-300):])
		}
		_, progress := b.output(t, 0, "up", b.file) // every path as expected
		t.Logf("up by another netlab:\n%s", progress)
		for _, node := range []string{"cp", "w1", "w2"} {
			if loaded := strings.Contains(progress, "load into "+node+": netlab.dev/agent:"); loaded != (turn.of == &second) {
				t.Errorf("the agent is loaded into %s: %t, in\n%s", node, loaded, progress)
			}
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", b.pids(t, "agent", "serve", "--name", "client")[0]))
		if err != nil {
			t.Fatal(err)
		}
		is := info.Sys().(*syscall.Stat_t).Ino // by its path all are /usr/local/bin/netlab
		if is == was {
			t.Errorf("the agent of client still runs the executable of before")
		}
		was = is
		if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
			t.Errorf("a second up says %q", out)
		}
		b.labs = turn.other
		want := "error: the agents of lab " + b.name + " are of another netlab build and may be incompatible\nhint: `netlab up " + b.file + "` replaces them\n"
		for _, args := range [][]string{{"verify", b.name}, {"trace", b.name, "client", "echo-lb"}} {
			if _, stderr := b.output(t, 2, args...); stderr != want {
				t.Errorf("%s by another netlab says %q", args[0], stderr)
			}
		}
	}
}
