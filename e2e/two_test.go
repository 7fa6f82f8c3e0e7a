package e2e

import (
	"maps"
	"os"
	"strings"
	"testing"
)

// small is a lab of two Nodes with VIPs and no Ingress.
const small = `apiVersion: netlab/v1alpha1
kind: Lab
nodes:
  - {name: cp, role: control-plane}
  - {name: w, role: worker}
ingress: {name: none}
`

// two: two labs with the same addresses run side by side. The state of one is deleted by hand;
// it is removed nevertheless, and the other is not affected.
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
	if err := os.RemoveAll(one.path()); err != nil {
		t.Fatal(err)
	}
	if out := one.run(t, 0, "list"); !strings.Contains(out, one.name) {
		t.Errorf("list does not know a lab without state: %q", out)
	}
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
