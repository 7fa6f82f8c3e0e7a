package libvirt

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An upload that was cut is not accepted, neither when it ends nor under its final name; what was
// accepted is whole and can be executed.
func TestCutUpload(t *testing.T) {
	program := "#!/bin/sh\necho whole\n"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(program)))
	path := filepath.Join(t.TempDir(), "lab", "netlab-"+sum[:16])
	run := func(script, stdin string) (string, error) {
		cmd := exec.Command("sh", "-c", script, "sh", path, sum)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if said, err := run(takeProgram, program[:9]); err == nil || !strings.Contains(said, "the upload was cut") {
		t.Errorf("half a program: %v, %q", err, said)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("half a program leaves %v (%v)", left, err)
	}
	if err := os.WriteFile(path, []byte(program[:9]), 0o755); err != nil { // as earlier versions of netlab left it
		t.Fatal(err)
	}
	if _, err := run(hasProgram, ""); err == nil {
		t.Error("half a program is taken for the whole one")
	}
	if said, err := run(takeProgram, program); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if said, err := run(hasProgram, ""); err != nil {
		t.Errorf("the program is not found: %v %s", err, said)
	}
	if out, err := exec.Command(path).Output(); err != nil || string(out) != "whole\n" {
		t.Errorf("it says %q (%v)", out, err)
	}
}
