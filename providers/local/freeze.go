package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/labs"
)

// freezeLimit bounds the wait for a lab's processes to freeze, which takes milliseconds. One that
// waits for a disk freezes when that has answered.
const freezeLimit = 10 * time.Second

// freezer is what freezes the cgroup of a lab: a file, what is written to it, and the file and line
// that report the end. A frozen cgroup freezes those below it too, and leaves them what they were.
type freezer struct {
	switches      string // freezer.state, or cgroup.freeze
	freeze, thaw  string
	reports, line string
}

// freezerOf returns the freezer of a lab; false if the lab has no cgroup that can be frozen.
func freezerOf(lab labs.Name) (freezer, bool) {
	var unified freezer
	for _, m := range cgroupMounts() {
		dir := filepath.Join(m.path, CgroupOf(lab, ""))
		at := func(name string) string { return filepath.Join(dir, name) }
		switch {
		case slices.Contains(m.options, "freezer") && exists(at("freezer.state")):
			return freezer{at("freezer.state"), "FROZEN", "THAWED", at("freezer.state"), "FROZEN"}, true
		case m.unified && exists(at("cgroup.freeze")):
			unified = freezer{at("cgroup.freeze"), "1", "0", at("cgroup.events"), "frozen 1"}
		}
	}
	return unified, unified != freezer{}
}

func (f freezer) frozen() bool {
	data, _ := os.ReadFile(f.reports)
	return slices.Contains(strings.Split(strings.TrimSpace(string(data)), "\n"), f.line)
}

// on reports whether the cgroup is frozen or about to be.
func (f freezer) on() bool {
	data, err := os.ReadFile(f.switches)
	return err == nil && strings.TrimSpace(string(data)) != f.thaw
}

// Frozen reports whether a lab is frozen as a whole: Freeze was killed before its end.
func Frozen(lab labs.Name) bool {
	f, able := freezerOf(lab)
	return able && f.on()
}

// Freeze calls do while no process of a lab runs, and lets them run again.
func Freeze(ctx context.Context, lab labs.Name, do func() error) (err error) {
	if err := lab.Check(); err != nil {
		return err
	}
	f, able := freezerOf(lab)
	if !able {
		return fmt.Errorf("lab %s has no cgroup with a freezer", lab)
	}
	defer func() {
		if thawed := os.WriteFile(f.switches, []byte(f.thaw), 0); thawed != nil {
			err = errors.Join(err, fmt.Errorf("let lab %s continue: %w", lab, thawed))
		}
	}()
	if err := os.WriteFile(f.switches, []byte(f.freeze), 0); err != nil {
		return fmt.Errorf("freeze lab %s: %w", lab, err)
	}
	limited, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	for !f.frozen() {
		select {
		case <-time.After(time.Millisecond): // the kernel notifies of this on cgroup v2 only
		case <-limited.Done():
			return fmt.Errorf("freeze lab %s: %w", lab, limited.Err())
		}
	}
	return do()
}

// Unfreeze lets a lab continue that a killed Freeze left frozen.
func Unfreeze(lab labs.Name) error {
	f, able := freezerOf(lab)
	if !able || !f.on() {
		return nil
	}
	return os.WriteFile(f.switches, []byte(f.thaw), 0)
}
