package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// DamagedError reports a file that exists and does not hold what was written: it is neither
// absent, after which it could be written anew, nor whole.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Path, e.Err) }

func (e *DamagedError) Unwrap() error { return e.Err }

// ReadJSON reads a file that Write wrote. There are three answers: found and no error; not found
// and no error; or an error, which is a *DamagedError where the file is there and is not JSON of
// the type of out.
func ReadJSON(path string, out any) (found bool, err error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return false, &DamagedError{path, err}
	}
	return true, nil
}
