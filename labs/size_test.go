package labs_test

import (
	"testing"

	"netlab.dev/netlab/labs"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]labs.Size{"1MiB": 1 << 20, "1536MiB": 1536 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40} {
		var s labs.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s reads as %d and is written %s (%v)", text, s, s, err)
		}
	}
	for _, text := range []string{"", "8", "8GB", "0GiB", "1.5GiB", "-1GiB", "99999999TiB"} {
		var s labs.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q reads as %s", text, s)
		}
	}
	var same labs.Size
	if err := same.UnmarshalText([]byte("1024MiB")); err != nil || same.String() != "1GiB" {
		t.Errorf("1024MiB is written %s (%v)", same, err)
	}
}
