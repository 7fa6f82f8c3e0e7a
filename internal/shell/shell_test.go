package shell

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What Join writes, a shell reads back as the same arguments.
func TestJoinRoundTrips(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs sh")
	}
	empty := t.TempDir() // nothing that a pattern could match
	for _, args := range [][]string{
		{"true"},
		{"ip", "-4", "route", "get", "10.0.0.1/24"},
		{"", "", "end"},
		{"two words", " lead", "trail ", "\ttab\t", "line\nbreak", "\r"},
		{"it's", `say "hi"`, "'", "''", `'"'"'`, `\`, `\\'`, `a\`},
		{"$HOME", "${x}", "`id`", "$(id)", "a&b", "a;b", "a|b", "<in", ">out", "(x)", "{a,b}", "!x", "#x", "~", "~root", "*", "?", "[a]"},
		{"k=v", "a=$b", "%s", "^", "@", "+", ",", ".", "/", ":", "-", "_"},
		{"Größe", "日本", "\x01\x7f"},
		{"--jsonpath={.items[?(@.type==\"x\")].ip}"},
	} {
		script := Join(append([]string{"printf", `%s\0`}, args...)...)
		cmd := exec.Command(sh, "-c", script)
		cmd.Dir = empty
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("sh -c %q: %v", script, err)
			continue
		}
		if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, args) {
			t.Errorf("%q is read back as %q; written %s", args, got, script)
		}
	}
}

// A program's own name is quoted like its arguments: an assignment would not run at all.
func TestJoinQuotesProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "a=b c")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho ran \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", Join(program, "x y")).CombinedOutput()
	if err != nil || string(out) != "ran x y\n" {
		t.Errorf("%q (%v)", out, err)
	}
	if out, err := exec.Command("sh", "-c", Join("a=b")).CombinedOutput(); err == nil {
		t.Errorf("a program named a=b was taken for an assignment: %q", out)
	}
}
