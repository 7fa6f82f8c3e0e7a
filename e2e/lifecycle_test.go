package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	// `start` recreates those Pods of components that wait for a back-off; all others stay.
	others := []string{"get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}", "--field-selector",
		"metadata.namespace!=kube-system,metadata.namespace!=kube-flannel,metadata.namespace!=metallb-system,metadata.namespace!=ingress-nginx"}
	pods := b.kubectl(t, others...)
	if len(strings.Fields(pods)) < 10 {
		t.Errorf("only these Pods are compared: %s", pods)
	}

	if out := b.run(t, 0, "stop", b.name); !strings.Contains(out, " stopped (") {
		t.Errorf("stop says %q", out)
	}
	providertest.NothingLeft(t, b.before, b.name)
	if out := b.run(t, 0, "stop", b.name); !strings.Contains(out, "is already stopped") {
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
	if is := b.kubectl(t, append([]string{"--kubeconfig", config, "--context", b.name}, others...)...); !sameWords(is, pods) {
		t.Errorf("Pods were %s, and are %s", pods, is)
	}
	b.passes(t)
	if out := b.run(t, 0, "start", b.name); !strings.Contains(out, "is already running") {
		t.Errorf("a second start says %q", out)
	}
	b.run(t, 0, "stop", b.name)
	t.Run("newer netlab", b.newer)

	b.run(t, 0, "kubeconfig", b.name, "--unmerge")
	if _, err := os.Stat(config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the kubeconfig that was made for the lab is left (%v)", err)
	}
}

// quick bounds a `down`, which takes one or two seconds on two cores.
const quick = 15 * time.Second

// goes: down leaves nothing, is fast, and can be repeated.
func (b *lab) goes(t *testing.T) {
	b.up(t)
	config := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", config)
	b.run(t, 0, "kubeconfig", b.name, "--merge")
	t.Setenv("KUBECONFIG", "") // down knows where it went
	began := time.Now()
	if out := b.run(t, 0, "down", b.name); !strings.Contains(out, "removed") {
		t.Errorf("down says %q", out)
	}
	if took := time.Since(began); took > quick {
		t.Errorf("down took %s, want at most %s", took, quick)
	}
	if _, err := os.Stat(config); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("down left the kubeconfig that was made for the lab (%v)", err)
	}
	b.clean(t)
	if out := b.run(t, 0, "down", b.name); !strings.Contains(out, "lab "+b.name+" not found") {
		t.Errorf("a second down says %q", out)
	}
	b.clean(t)
	b.run(t, 2, "status", b.name)
	b.run(t, 2, "verify", b.name)
}

// sameWords reports whether both have the same words in any order.
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
