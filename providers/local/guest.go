package local

import (
	"os"
	"path/filepath"

	"netlab.dev/netlab/labs"
)

// GuestsDir has a directory for each lab of another machine that has Nodes on this machine's
// hypervisor.
const GuestsDir = "/var/lib/netlab-elsewhere"

// Guest reports whether a lab on this machine belongs to another machine, which alone changes and
// removes it; dir is GuestsDir.
func Guest(dir string, lab labs.Name) bool {
	_, err := os.Stat(filepath.Join(dir, lab.Label()))
	return err == nil
}
