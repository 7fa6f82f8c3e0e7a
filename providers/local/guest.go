package local

import (
	"os"
	"path/filepath"

	"netlab.dev/netlab/labs"
)

// GuestsDir holds a directory for each lab of another machine's netlab that has Nodes on
// this machine's hypervisor.
const GuestsDir = "/var/lib/netlab-elsewhere"

// Guest reports whether a lab's parts on this machine are of another machine's lab; dir is
// GuestsDir. They are that machine's to change and to remove.
func Guest(dir string, lab labs.Name) bool {
	_, err := os.Stat(filepath.Join(dir, lab.Label()))
	return err == nil
}
