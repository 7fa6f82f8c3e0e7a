package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// change: one worker more, one fewer, another pool. Each changes only what differs.
func (b *lab) change(t *testing.T) {
	b.up(t)
	defer b.write(t, b.text)
	nodes := []string{"cp", "w1", "w2"}
	was := b.boots(t, nodes...)
	b.kubectl(t, "create", "-f", b.strangeNode(t)) // a Node that netlab did not make
	defer b.kubectl(t, "delete", "node", "nlt-strange")
	same := func(t *testing.T) {
		t.Helper()
		if is := b.boots(t, nodes...); !maps.Equal(was, is) {
			t.Errorf("Nodes were started again: %v, then %v", was, is)
		}
	}
	changes := func(t *testing.T, want ...string) {
		t.Helper()
		_, progress := b.output(t, 0, "up", b.file)
		var got []string
		for line := range strings.Lines(progress) {
			for _, word := range []string{"add ", "remove machine ", "make ", "configure "} {
				if strings.HasPrefix(line, word) {
					got = append(got, strings.TrimSpace(line))
				}
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("up says that it does %q, want %q", got, want)
		}
	}
	if !t.Run("add a worker", func(t *testing.T) {
		b.write(t, replaced(t, b.text, "role: worker, count: 2,", "role: worker, count: 3,"))
		changes(t, "add machine w3")
		same(t)
		if out := b.kubectl(t, "get", "nodes", "-o", "name"); !strings.Contains(out, "node/w3\n") {
			t.Errorf("Nodes are %q", out)
		}
		for _, image := range strings.Fields(b.exec(t, "w1", "ctr -n k8s.io images ls -q | grep example.test || true")) { // that `netlab load` loaded
			b.exec(t, "w3", "ctr -n k8s.io images ls -q | grep -qx "+image)
		}
	}) {
		return
	}
	t.Run("remove it", func(t *testing.T) {
		b.write(t, b.text)
		changes(t, "remove machine w3")
		same(t)
		if out := b.kubectl(t, "get", "nodes", "-o", "name"); strings.Contains(out, "w3") || !strings.Contains(out, "nlt-strange") {
			t.Errorf("Nodes are %q", out)
		}
		if out := b.kubectl(t, "get", "pods", "-A", "-o", "wide"); strings.Contains(out, " w3 ") {
			t.Errorf("Pods of the removed Node are left:\n%s", out)
		}
	})
	t.Run("move the pool", func(t *testing.T) {
		const old, other = "172.30.0.200-172.30.0.219", "172.30.0.230-172.30.0.239"
		b.write(t, replaced(t, b.text, old, other))
		changes(t, "configure loadBalancer pools")
		same(t)
		b.moved(t, other)
		b.write(t, b.text)
		changes(t, "configure loadBalancer pools")
		b.moved(t, old)
	})
}

// strangeNode writes the manifest of a Node object without a machine, as KWOK makes them.
func (b *lab) strangeNode(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.yaml")
	text := "apiVersion: v1\nkind: Node\nmetadata: {name: nlt-strange}\nspec: {taints: [{key: nlt, effect: NoExecute}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
