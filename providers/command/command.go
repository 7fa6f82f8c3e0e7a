// Package command runs programs and reports failures with a command line that can be pasted into
// a shell and the program's output. It takes prepared exec.Cmds, wherever they run.
package command

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"netlab.dev/netlab/internal/shell"
)

// Error is a program that failed.
type Error struct {
	Args   []string
	Output string // the end of what it printed, both streams
	Err    error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", shell.Join(e.Args...), e.Err)
	if e.Output != "" {
		s += "\n" + e.Output
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// kept is the number of bytes of a failed program's output that are kept: two screens.
const kept = 8 << 10

// Run runs the program and returns its standard output. Its streams must not be set.
func Run(cmd *exec.Cmd) ([]byte, error) {
	var stdout bytes.Buffer
	both := &shared{}
	cmd.Stdout = io.MultiWriter(&stdout, both)
	cmd.Stderr = both
	if err := cmd.Run(); err != nil {
		out := strings.TrimSpace(both.text.String())
		if len(out) > kept {
			out = "…" + out[len(out)-kept:]
		}
		return stdout.Bytes(), &Error{Args: cmd.Args, Output: out, Err: err}
	}
	return stdout.Bytes(), nil
}

// shared is a buffer for two streams that are written concurrently.
type shared struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}
