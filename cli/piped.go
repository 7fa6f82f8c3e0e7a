package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"netlab.dev/netlab/internal/atomicfile"
)

// maxLabFile bounds a lab file that is read from a pipe, in bytes.
const maxLabFile = 1 << 20

// kept replaces a lab file that is a pipe (/dev/stdin, <(…)) by a copy in the cache: it can be read
// only once, and later commands name it.
func (a *app) kept(arg string) (string, error) {
	info, err := os.Stat(arg)
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return arg, nil
	}
	f, err := os.Open(arg)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLabFile+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", arg, err)
	}
	if len(data) > maxLabFile {
		return "", fmt.Errorf("read %s: larger than a lab file may be (%d bytes)", arg, maxLabFile)
	}
	sum := sha256.Sum256(data)
	path := filepath.Join(a.engine.Software.Dir, "piped", hex.EncodeToString(sum[:8])+".yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, atomicfile.Write(path, data, 0o644)
}
