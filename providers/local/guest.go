package local

import (
	"os"
	"path/filepath"
)

// GuestsDir holds a directory for each lab of another machine's netlab that has Nodes on
// this machine's hypervisor.
const GuestsDir = "/var/lib/netlab-elsewhere"

// Guest reports whether a lab's parts on this machine are of another machine's lab; dir is
// GuestsDir. They are that machine's to change and to remove.
func Guest(dir, lab string) bool {
	_, err := os.Stat(filepath.Join(dir, lab))
	return err == nil && lab != ""
}
