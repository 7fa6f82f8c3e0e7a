package providers

import (
	"errors"
	"testing"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/topology"
)

func TestOnlyOff(t *testing.T) {
	off, lost := Off(topology.Machine{Kind: topology.KindNode, Name: "w1"}), errors.New("docker does not answer")
	if off.Error() != "node w1 is off" {
		t.Error(off)
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"none":     {nil, false},
		"one":      {off, true},
		"hinted":   {hint.With(errors.Join(off, off), "start it"), true},
		"another":  {lost, false},
		"both":     {hint.With(errors.Join(off, lost), "start it"), false},
		"its half": {errors.Join(off, hint.With(lost, "a")), false},
	} {
		if got := OnlyOff(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
