package pid1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/atomicfile"
)

// StatusFile is the file, in the machine, to which PID 1 writes the status of its services.
const StatusFile = "/run/netlab/services.json"

// Status is the content of StatusFile.
type Status struct {
	// Hash is the hash of the loaded services file: the writer of a new file can see here that
	// it was reloaded.
	Hash     string           `json:"hash"`
	Services map[string]State `json:"services"`
}

// State is the state of one service.
type State struct {
	PID    int    `json:"pid"`             // in the machine's pid namespace; 0: not running
	Starts int    `json:"starts"`          // since its definition last changed
	Ended  string `json:"ended,omitempty"` // how its last process exited, "exit status 1"
}

// Hash identifies the content of a services file.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// report writes the status atomically. A process that was stopped because its service changed
// counts as exited.
func (s *supervisor) report() {
	if s.status == "" {
		return
	}
	now := Status{Hash: s.hash, Services: map[string]State{}}
	for name, u := range s.units {
		state := State{PID: u.pid, Starts: u.starts, Ended: u.ended}
		if u.changed || u.removed {
			state.PID = 0
		}
		now.Services[name] = state
	}
	data, err := json.Marshal(now)
	if err == nil {
		err = atomicfile.Write(s.status, data, 0o644)
	}
	if err != nil {
		s.say("write %s: %v", s.status, err)
	}
}

func same(a, b Service) bool { return reflect.DeepEqual(a, b) }

// how describes the exit of a process, as os.ProcessState does.
func how(w unix.WaitStatus) string {
	if w.Signaled() {
		return "signal: " + w.Signal().String()
	}
	return fmt.Sprintf("exit status %d", w.ExitStatus())
}
