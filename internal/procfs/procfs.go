// Package procfs reads the state of a process from /proc/<pid>/stat (proc_pid_stat(5)). It
// neither finds nor kills processes.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stat holds the fields of a process's stat file that netlab uses.
type Stat struct {
	State  string // field 3: R, S, Z, …
	Parent int    // field 4
	Start  string // field 22, in clock ticks since boot: with the pid it names one process
}

// Read returns a process's Stat; the error wraps fs.ErrNotExist if there is no such process.
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

// Ended reports a zombie: only its threads or its parent keep it in the process table.
func (s Stat) Ended() bool { return s.State == "Z" || s.State == "X" }

// Alive reports whether a process exists and has not exited.
func Alive(pid int) bool {
	s, err := Read(pid)
	return err == nil && !s.Ended()
}
