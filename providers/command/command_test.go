package command

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What Line writes, a shell reads back as the same arguments.
func TestLineRoundTrips(t *testing.T) {
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
		script := Line(append([]string{"printf", `%s\0`}, args...))
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
func TestLineQuotesProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "a=b c")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho ran \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", Line([]string{program, "x y"})).CombinedOutput()
	if err != nil || string(out) != "ran x y\n" {
		t.Errorf("%q (%v)", out, err)
	}
	if out, err := exec.Command("sh", "-c", Line([]string{"a=b"})).CombinedOutput(); err == nil {
		t.Errorf("a program named a=b was taken for an assignment: %q", out)
	}
}

func TestRun(t *testing.T) {
	out, err := Run(exec.Command("sh", "-c", "echo out; echo err >&2"))
	if err != nil || string(out) != "out\n" {
		t.Errorf("%q, %v", out, err)
	}

	out, err = Run(exec.Command("sh", "-c", "echo out; echo why >&2; exit 3"))
	var failed *Error
	var exit *exec.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("error is %v", err)
	}
	if string(out) != "out\n" {
		t.Errorf("standard output is %q", out)
	}
	if first, rest, _ := strings.Cut(err.Error(), "\n"); first != "sh -c 'echo out; echo why >&2; exit 3': exit status 3" ||
		rest != "out\nwhy" && rest != "why\nout" { // two pipes: their order is not kept
		t.Errorf("error is %q", err)
	}

	_, err = Run(exec.Command("/nonexistent/tool", "x"))
	if !errors.As(err, &failed) || !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "/nonexistent/tool x: ") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// Of a program that says much before it fails, the end is kept.
func TestRunKeepsTheEnd(t *testing.T) {
	_, err := Run(exec.Command("sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 1"))
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if len(failed.Output) > kept+len("…") || !strings.HasSuffix(failed.Output, "line 1999") || !strings.HasPrefix(failed.Output, "…") {
		t.Errorf("kept %d bytes, from %.20q", len(failed.Output), failed.Output)
	}
}
