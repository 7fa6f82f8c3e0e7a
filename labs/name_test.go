package labs

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, good := range []string{"a", "0", "quickstart", "a-b", "a--b", "7th", strings.Repeat("a", 32)} {
		n, err := ParseName(good)
		if err != nil || n.String() != good || n.Label() != good || n.Check() != nil {
			t.Errorf("%q: %v (%v)", good, n, err)
		}
		text, err := json.Marshal(map[string]Name{"lab": n})
		var back map[string]Name
		if err != nil || string(text) != `{"lab":"`+good+`"}` || json.Unmarshal(text, &back) != nil || back["lab"] != n {
			t.Errorf("%q is written as %s and read as %v (%v)", good, text, back["lab"], err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "...", "/", "a/b", "../x", "a/..", "/etc", "/var/lib/netlab", "./a", "~", "*", "a*", "?", "a.b", ".a", "a.",
		"A", "aB", "-a", "a-", "-", "--all", "a_b", "a b", " a", "a ", "\ta", "a\n", "\n", "a\x00b", "\x00", "ä", "аbc", "a\u200b", "a\xff",
		"a:b", "a@b", "$HOME", "`id`", strings.Repeat("a", 33), strings.Repeat("a", 5000),
	} {
		n, err := ParseName(bad)
		var nameErr *NameError
		if !errors.As(err, &nameErr) || nameErr.Hint() == "" || n != (Name{}) {
			t.Errorf("%q: %v (%v)", bad, n, err)
		}
		text, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &n); err == nil || n != (Name{}) {
			t.Errorf("%s is read as %v", text, n)
		}
	}
}

// The zero Name is not part of a path, is not marshalled, and its text is not a directory name.
func TestZeroName(t *testing.T) {
	var none Name
	if none.Check() == nil {
		t.Error("the zero Name passes Check")
	}
	if text, err := json.Marshal(none); err == nil {
		t.Errorf("it is written as %s", text)
	}
	if _, err := ParseName(none.String()); err == nil {
		t.Errorf("%s is a lab name", none)
	}
	defer func() {
		if recover() == nil {
			t.Error("it has a label")
		}
	}()
	_ = none.Label()
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"", "..", "quickstart", "a/b", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			return
		}
		if n.Label() != text || text == "" || len(text) > maxName || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			strings.HasPrefix(text, "-") || strings.HasSuffix(text, "-") {
			t.Errorf("%q is taken for a lab name", text)
		}
	})
}
