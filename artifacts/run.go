package artifacts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"netlab.dev/netlab/internal/shell"
)

// tool is one program to run while making a thing; its output goes to a log.
type tool struct {
	argv  []string
	dir   string
	env   []string // added to ours
	stdin func() (*os.File, error)
	log   string // path; appended to
}

// failure is a program that failed: its command line, to paste, and the end of its output.
type failure struct {
	dir  string
	argv []string
	err  error
	tail string
	log  string
}

func (f failure) Error() string {
	return fmt.Sprintf("%s: %v\n%s", commandLine(f.dir, f.argv), f.err, f.tail)
}
func (f failure) Unwrap() error { return f.err }
func (f failure) Hint() string  { return "the full output is in " + f.log }

// run runs a program and waits. The program is killed with this process, so that a killed
// netlab leaves no program that continues to write.
func (t tool) run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(t.log), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(t.log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "\n%s $ %s\n", time.Now().Format(time.TimeOnly), commandLine(t.dir, t.argv))
	start, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, t.argv[0], t.argv[1:]...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if t.stdin != nil {
		in, err := t.stdin()
		if err != nil {
			return err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// The kernel sends the death signal when the parent thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return failure{dir: t.dir, argv: t.argv, err: err, tail: tail(t.log, start, 20), log: t.log}
	}
	return nil
}

// apart runs a program in separate mount and PID namespaces: its mounts and all its processes
// end with it.
func apart(argv ...string) []string {
	return append([]string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}, argv...)
}

// commandLine quotes a command for a shell.
func commandLine(dir string, argv []string) string {
	line := shell.Join(argv...)
	if dir != "" {
		line = "cd " + dir + " && " + line
	}
	return line
}

// tail returns the last lines of a log after an offset.
func tail(path string, from int64, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil || int64(len(data)) < from {
		return ""
	}
	all := bytes.Split(bytes.TrimSpace(data[from:]), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
