package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
)

// tidy takes out of the environment what the user's shell means for other programs: files that
// are made are readable as the modes say (umask), no library or script is loaded into the tools
// that netlab runs, and HOME is there for them.
func tidy() error {
	syscall.Umask(0o022)
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "LD_") || name == "BASH_ENV" || name == "ENV" {
			os.Unsetenv(name)
		}
	}
	if os.Getenv("HOME") != "" {
		return nil
	}
	u, err := user.Current()
	if err != nil {
		return hint.With(err, "set HOME")
	}
	return os.Setenv("HOME", u.HomeDir)
}

// marks are what a directory of netlab's may have in its path beside letters and digits. Others
// mean something in the options of overlay mounts (":" and ","), in /proc/mounts (a space) or in
// shell scripts.
const marks = "/._-+@~="

// directory is a directory named by a variable of the environment, or a default: absolute, with
// symlinks resolved as far as it exists.
func directory(variable, otherwise string) (string, error) {
	dir := os.Getenv(variable)
	if dir == "" {
		dir = otherwise
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = resolved(dir)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	for _, r := range dir {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(marks, r) {
			return "", hint.With(fmt.Errorf("%s: path %s has a %q, which is not supported", variable, dir, r),
				"use letters, digits and any of "+strings.Join(strings.Split(marks, ""), " "))
		}
	}
	return dir, nil
}

// resolved resolves the symlinks of the part of a path that exists.
func resolved(path string) (string, error) {
	whole, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && path != "/" {
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s is a symlink to nothing", path)
		}
		parent, err := resolved(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
	}
	return whole, err
}

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
