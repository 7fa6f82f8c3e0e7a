package pid1

import "testing"

func TestBounding(t *testing.T) {
	for _, c := range []struct {
		args  []string
		set   uint64
		found bool
	}{{nil, 0, false}, {[]string{"--other"}, 0, false}, {[]string{Bounding + "434eb"}, 0x434eb, true}, {[]string{Bounding + "x"}, 0, true}} {
		if set, found := bounding(c.args); set != c.set || found != c.found {
			t.Errorf("%q: %x, %t", c.args, set, found)
		}
	}
}
