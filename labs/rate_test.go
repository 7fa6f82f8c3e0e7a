package labs_test

import (
	"testing"

	"netlab.dev/netlab/labs"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		text, written string
		bits          labs.Rate
	}{
		{"500Mbit", "500Mbit", 500e6},
		{"1.5Gbit", "1500Mbit", 1.5e9},
		{"0.001kbit", "1bit", 1},
		{"1234567bit", "1234567bit", 1234567},
		{"2Tbit", "2Tbit", 2e12},
	} {
		var r labs.Rate
		if err := r.UnmarshalText([]byte(c.text)); err != nil || r != c.bits || r.String() != c.written {
			t.Errorf("%s: %d bit/s, written %s (%v)", c.text, r, r, err)
		}
	}
	for _, text := range []string{"", "500", "Mbit", "-1Mbit", "1mbit", "1 Mbit", "1Mbit/s", "0bit", "0.5bit", "1.Mbit", "1e3bit", "99999999Tbit", "500MB"} {
		var r labs.Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %s", text, r)
		}
	}
}
