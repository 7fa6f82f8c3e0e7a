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

// StatusFile is where PID 1 says what runs, in the machine.
const StatusFile = "/run/netlab/services.json"

// Status is what StatusFile holds.
type Status struct {
	// Hash is that of the services file which the status is about: whoever has just written
	// another one reads here when it was taken up.
	Hash     string           `json:"hash"`
	Services map[string]State `json:"services"`
}

// State is that of one service.
type State struct {
	PID    int    `json:"pid"`             // as the machine counts; 0: it does not run
	Starts int    `json:"starts"`          // since its definition last changed
	Ended  string `json:"ended,omitempty"` // how its last run ended, "exit status 1"
}

// Hash identifies the content of a services file.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// report writes the status, as a whole. What ends because it was changed counts as ended.
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

// how a process ended, as os.ProcessState has it.
func how(w unix.WaitStatus) string {
	if w.Signaled() {
		return "signal: " + w.Signal().String()
	}
	return fmt.Sprintf("exit status %d", w.ExitStatus())
}
