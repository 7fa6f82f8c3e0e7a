package settings

import "testing"

// String returns the canonical form, which parses to the same value.
func TestParseHypervisor(t *testing.T) {
	for text, want := range map[string]string{
		"kvm2":                             "qemu+ssh://kvm2/system",
		"kvm2.example.org":                 "qemu+ssh://kvm2.example.org/system",
		"10.0.0.2":                         "qemu+ssh://10.0.0.2/system",
		"qemu+ssh://root@kvm2:2222/system": "qemu+ssh://root@kvm2:2222/system",
		"qemu+ssh://kvm2/system?":          "qemu+ssh://kvm2/system",
		"qemu+ssh://k/system?keyfile=/a%26b&socket=/s": "qemu+ssh://k/system?socket=/s&keyfile=/a%26b",
	} {
		h, err := ParseHypervisor(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		again, err := ParseHypervisor(h.String())
		if err != nil || again != h {
			t.Errorf("%s is written %s and read as %+v (%v), was %+v", text, h, again, err, h)
		}
		if h.String() != want {
			t.Errorf("%s: %s, want %s", text, h, want)
		}
	}
	for _, text := range []string{"", "-kvm2", "kvm2:22", "root@kvm2", "qemu+ssh://[::1]/system", "10.0.0", "qemu+ssh://kvm2:/system", "qemu+ssh://kvm2/system?socket=/a&socket=/b", "qemu+ssh://kvm2/system#x"} {
		if h, err := ParseHypervisor(text); err == nil {
			t.Errorf("%q is taken for %+v", text, h)
		}
	}
}
