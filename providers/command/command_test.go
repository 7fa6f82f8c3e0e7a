package command

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

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
