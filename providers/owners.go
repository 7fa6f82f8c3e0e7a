package providers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/labs"
)

// Owners is a directory with a file for each lab of this machine: the state directory (Root) that the
// lab belongs to. Names of labs are the machine's, state directories the user's (NETLAB_STATE_DIR):
// without it the parts of a lab of another state directory look like those of one whose state was
// lost. With "" nothing is recorded, and other state directories are not known.
type Owners string

// DefaultOwners is empty after a reboot, as are labs in namespaces.
const DefaultOwners Owners = "/run/netlab-labs"

// Set records that a lab belongs to a state directory.
func (o Owners) Set(lab labs.Name, root Root) error {
	if o == "" {
		return nil
	}
	path, err := filepath.Abs(string(root))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(o), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(string(o), lab.Label()), []byte(path+"\n"), 0o644)
}

// Other returns the state directory of a lab, if that is another than root and still has the lab.
func (o Owners) Other(lab labs.Name, root Root) (Root, bool) {
	text, err := os.ReadFile(filepath.Join(string(o), lab.Label()))
	if o == "" || err != nil {
		return "", false
	}
	other := Root(strings.TrimSpace(string(text)))
	own, err := os.Stat(string(root))
	its, lost := os.Stat(string(other))
	if lost != nil || err == nil && os.SameFile(own, its) || !other.Marked(lab) {
		return "", false
	}
	return other, true
}

// Remove forgets a lab that was removed.
func (o Owners) Remove(lab labs.Name) error {
	if o == "" {
		return nil
	}
	err := os.Remove(filepath.Join(string(o), lab.Label()))
	os.Remove(string(o)) // unless another lab is in it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
