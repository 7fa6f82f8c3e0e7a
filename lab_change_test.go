package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// change: a worker more, a worker less, another pool. Each touches only what differs.
func (b *lab) change(t *testing.T) {
	b.up(t)
	defer b.write(t, b.text)
	nodes := []string{"cp", "w1", "w2"}
	was := b.boots(t, nodes...)
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
	}) {
		return
	}
	t.Run("remove it", func(t *testing.T) {
		b.write(t, b.text)
		changes(t, "remove machine w3")
		same(t)
		if out := b.kubectl(t, "get", "nodes", "-o", "name"); strings.Contains(out, "w3") {
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

// small is a lab of two Nodes with VIPs and no Ingress.
const small = `apiVersion: netlab/v1alpha1
kind: Lab
nodes:
  - {name: cp, role: control-plane}
  - {name: w, role: worker}
ingress: {name: none}
`

// two: two labs with the same addresses run side by side, and one goes without the other
// noticing.
func (l *labs) two(t *testing.T) {
	one, two := l.lab(t, "nlt-one", small), l.lab(t, "nlt-two", small)
	both := make(chan []byte)
	for _, b := range []*lab{one, two} {
		go func() {
			out, _ := b.command("up", "--no-verify", b.file).CombinedOutput()
			both <- out
		}()
	}
	made := string(<-both) + string(<-both)
	if strings.Count(made, " is up (") != 2 {
		t.Fatalf("not both labs are up:\n%s", made)
	}
	for _, b := range []*lab{one, two} {
		b.passes(t)
	}
	a := one.exec(t, "cp", "ip -4 -br addr show eth0")
	if b := two.exec(t, "cp", "ip -4 -br addr show eth0"); strings.Fields(a)[2] != strings.Fields(b)[2] {
		t.Errorf("the labs were to have the same addresses, and have %q and %q", a, b)
	}
	boots := two.boots(t, "cp", "w")
	one.remove(t)
	two.passes(t)
	if is := two.boots(t, "cp", "w"); !maps.Equal(boots, is) {
		t.Errorf("Nodes of the other lab were started again: %v, then %v", boots, is)
	}
	two.run(t, 0, "stop", two.name)
	two.remove(t) // of a stopped lab nothing is left either
	one.clean(t)
	two.clean(t)
}

// goes: down leaves nothing, as fast as it should, and twice.
func (b *lab) goes(t *testing.T) {
	b.up(t)
	config := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", config)
	b.run(t, 0, "kubeconfig", b.name, "--merge")
	t.Setenv("KUBECONFIG", "") // down knows where it went
	began := time.Now()
	if out := b.run(t, 0, "down", b.name); !strings.Contains(out, "is gone") {
		t.Errorf("down says %q", out)
	}
	t.Logf("down took %s", time.Since(began))
	if _, err := os.Stat(config); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("down left the kubeconfig that was made for the lab (%v)", err)
	}
	b.clean(t)
	if out := b.run(t, 0, "down", b.name); !strings.Contains(out, "there is no lab "+b.name) {
		t.Errorf("a second down says %q", out)
	}
	b.clean(t)
	b.run(t, 2, "status", b.name)
	b.run(t, 2, "verify", b.name)
}
