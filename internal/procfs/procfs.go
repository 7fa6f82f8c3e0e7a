// Package procfs reads what the kernel tells of a process in /proc/<pid>/stat
// (proc_pid_stat(5)). It neither finds processes nor ends them.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stat is what of a process's stat file matters.
type Stat struct {
	State  string // field 3: R, S, Z, …
	Parent int    // field 4
	Start  string // field 22, in clock ticks since boot: with the pid it names one process
}

// Read gives a process's; the error wraps fs.ErrNotExist for one that is gone.
func Read(pid int) (Stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	return parse(data)
}

// Fields are counted from behind the command name, which may hold spaces and brackets.
func parse(data []byte) (Stat, error) {
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) < 20 {
		return Stat{}, fmt.Errorf("read a process's stat: it has %d fields behind the name", len(f))
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return Stat{}, fmt.Errorf("read a process's stat: parent %w", err)
	}
	return Stat{State: f[0], Parent: parent, Start: f[19]}, nil
}

// Ended reports a process that only its threads or its parent keep in the process table.
func (s Stat) Ended() bool { return s.State == "Z" || s.State == "X" }

// Alive reports whether a process runs: it is there, and has not ended.
func Alive(pid int) bool {
	s, err := Read(pid)
	return err == nil && !s.Ended()
}
