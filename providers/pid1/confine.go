package pid1

import (
	"fmt"
	"strconv"
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Bounding is the argument of PID 1 with the capabilities that the machine keeps: a set in
// hexadecimal, as in /proc/PID/status.
const Bounding = "--bounding="

// bounding returns the set of the argument Bounding. One that cannot be read is empty.
func bounding(args []string) (set uint64, found bool) {
	for _, a := range args {
		if hex, is := strings.CutPrefix(a, Bounding); is {
			set, _ = strconv.ParseUint(hex, 16, 64)
			return set, true
		}
	}
	return 0, false
}

// confine gives up all other capabilities, in every thread: for this process and for all that it
// starts.
func confine(set uint64) error {
	has, kept := cap.GetProc(), cap.NewSet()
	for v := range cap.MaxBits() {
		if set&(1<<v) == 0 {
			if err := drop(v); err != nil {
				return fmt.Errorf("drop capability %s: %w", v, err)
			}
			continue
		}
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			on, err := has.GetFlag(flag, v)
			if err == nil {
				err = kept.SetFlag(flag, on, v)
			}
			if err != nil {
				return fmt.Errorf("keep capability %s: %w", v, err)
			}
		}
	}
	if err := kept.SetProc(); err != nil {
		return fmt.Errorf("keep capabilities %s: %w", kept, err)
	}
	return nil
}

// drop takes a capability out of the bounding set, unless it is not in it.
func drop(v cap.Value) error {
	if has, err := cap.GetBound(v); err != nil || !has {
		return err
	}
	return cap.DropBound(v)
}
