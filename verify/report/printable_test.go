package report

import (
	"strings"
	"testing"
)

// What a Pod says reaches neither the terminal nor a TAP consumer as control characters.
func TestEscape(t *testing.T) {
	said := "\x1b]0;owned\x07\x1b[2J\r\u202eok\u009b"
	r := Report{Paths: []Result{{ID: "x", Outcome: Fail, Reason: said, Observed: Observed{Backend: said},
		Properties: []Property{{Name: "n", Observed: said}}, Evidence: &Evidence{}}}}
	r.Escape()
	var text, tap strings.Builder
	if err := r.WriteTAP(&tap); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&text, Layout{}, false); err != nil {
		t.Fatal(err)
	}
	for what, out := range map[string]string{"text": text.String(), "TAP": tap.String()} {
		if strings.ContainsAny(out, "\x1b\x07\r\u202e\u009b") {
			t.Errorf("%s has control characters: %q", what, out)
		}
	}
	if want := `\x1b]0;owned\x07\x1b[2J\x0d\u202eok\x9b`; r.Paths[0].Reason != want {
		t.Errorf("it is %q, want %q", r.Paths[0].Reason, want)
	}
	traced := Traced{Answered: said}
	if traced.Escape(); strings.ContainsRune(traced.Answered, 0x1b) {
		t.Errorf("a trace has control characters: %q", traced.Answered)
	}
}
