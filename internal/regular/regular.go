// Package regular opens files below a directory whose content somebody else controls: a Node, an
// outside host, a Pod. A link does not lead out of the directory, and nothing but a regular file
// is opened: a FIFO would block for ever.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a file of the root for reading. It follows no link in its last element.
func Open(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, odd(name, info)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() { // replaced meanwhile
		f.Close()
		return nil, errors.Join(err, odd(name, info))
	}
	return f, nil
}

// Read reads a file of the root, of at most limit bytes.
func Read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := Open(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s exceeds %d bytes", name, limit)
	}
	return data, err
}

// Append opens a file of the root for appending. What is there and not a regular file is removed.
func Append(root *os.Root, name string) (*os.File, error) {
	if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		if err := root.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	return root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK, 0o644)
}

func odd(name string, info fs.FileInfo) error {
	if info == nil {
		return nil
	}
	return fmt.Errorf("%s is not a regular file (%s)", name, info.Mode().Type())
}
