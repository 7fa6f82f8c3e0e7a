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
	Flags  uint64 // field 9, the kernel's PF_*
	Start  string // field 22, in clock ticks since boot: with the pid it names one process
}

// exiting is PF_EXITING of the kernel's include/linux/sched.h.
const exiting = 0x4

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
	flags, err := strconv.ParseUint(f[6], 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("read a process's stat: flags %w", err)
	}
	return Stat{State: f[0], Parent: parent, Flags: flags, Start: f[19]}, nil
}

// Ended reports a zombie: only its threads or its parent keep it in the process table.
func (s Stat) Ended() bool { return s.State == "Z" || s.State == "X" }

// Exiting reports a process that has ended or is about to: it executes nothing of its program and
// has left its namespaces. The PID 1 of a PID namespace stays so until the namespace's other
// processes have ended, which takes long if they hold much memory.
func (s Stat) Exiting() bool { return s.Ended() || s.Flags&exiting != 0 }

// Running reports whether a process exists and is not exiting.
func Running(pid int) bool {
	s, err := Read(pid)
	return err == nil && !s.Exiting()
}

// Alive reports whether a process exists and has not exited: it may be exiting, and holds its
// locks and memory until it has.
func Alive(pid int) bool {
	s, err := Read(pid)
	return err == nil && !s.Ended()
}
