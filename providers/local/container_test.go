package local

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"netlab.dev/netlab/labs"
)

// A pid file counts only while that process is one of the container's.
func TestPid(t *testing.T) {
	c := Container{Lab: labs.MustName("lab"), Name: "w1", Dir: t.TempDir()}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"another process":      strconv.Itoa(os.Getpid()),
		"a process that ended": strconv.Itoa(ended.Process.Pid),
		"no number":            "x",
		"nothing":              "",
	} {
		if err := os.WriteFile(c.Path("pid"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if pid := c.PID(); pid != 0 {
			t.Errorf("%s: pid %d", what, pid)
		}
	}
}
