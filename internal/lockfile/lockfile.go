// Package lockfile is an exclusive lock between processes: a file that only its owner can open,
// and so lock, with the process id of the holder in it. The kernel releases the lock when the
// process exits; a released lock leaves no file behind.
package lockfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// poll is the interval of attempts to take a lock that another process holds.
const poll = 5 * time.Millisecond

// BusyError reports that another process holds a lock.
type BusyError struct {
	Path    string
	PID     int    // of the holder; 0 if unknown
	Command string // its command line; "" if unknown
}

// Holder names the process: "process 4711 (netlab up lab.yaml)".
func (e *BusyError) Holder() string {
	switch {
	case e.PID == 0:
		return "another process"
	case e.Command == "":
		return fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("process %d (%s)", e.PID, e.Command)
}

func (e *BusyError) Error() string { return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder()) }

// Take takes the lock, or waits for at most limit until the holder releases it; it calls waiting
// once before it waits. The error is a *BusyError if the lock is still held then.
func Take(ctx context.Context, path string, limit time.Duration, waiting func(*BusyError)) (release func(), err error) {
	deadline := time.Now().Add(limit)
	for said := false; ; {
		release, err := try(path)
		var busy *BusyError
		if !errors.As(err, &busy) || !time.Now().Before(deadline) {
			return release, err
		}
		if !said && waiting != nil {
			waiting(busy)
		}
		said = true
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %w: %w", busy, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// try takes the lock if it is free.
func try(path string) (release func(), err error) {
	for {
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		path := f.Name()
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EINTR):
			f.Close()
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			busy := holder(f)
			f.Close()
			return nil, busy
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The previous holder removes the file when it releases the lock: a lock on a
		// deleted file would exclude nobody.
		held, err1 := f.Stat()
		there, err2 := os.Lstat(path)
		if err1 != nil || err2 != nil || !os.SameFile(held, there) {
			f.Close()
			continue
		}
		// Earlier versions created it readable, and who can open a file can lock it. The
		// process id is for messages only: a full disk does not keep anybody from locking.
		_ = f.Chmod(0o600)
		if f.Truncate(0) == nil {
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		return func() { os.Remove(path); f.Close() }, nil
	}
}

// fallback is where locks are whose own directory cannot be written to. It is a tmpfs.
const fallback = "/run/netlab/locks"

// open opens a lock file and creates it if it is missing. On a read-only or full disk it is the file
// that is there already, or one in fallback: what the lock is for may be to free the disk.
func open(path string) (*os.File, error) {
	const flags = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|flags, 0o600)
	if !Unwritable(err) {
		return f, err
	}
	if f, err := os.OpenFile(path, os.O_RDONLY|flags, 0); err == nil {
		return f, nil
	}
	path, absErr := filepath.Abs(path)
	if absErr != nil || os.MkdirAll(fallback, 0o700) != nil {
		return nil, err
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(path)))
	return os.OpenFile(filepath.Join(fallback, name), os.O_CREATE|os.O_RDWR|flags, 0o600)
}

// Unwritable reports whether an error is that of a read-only or full disk.
func Unwritable(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// holder reads who holds a lock file.
func holder(f *os.File) *BusyError {
	busy := &BusyError{Path: f.Name()}
	data, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return busy
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return busy // it has just exited
	}
	busy.PID = pid
	busy.Command = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
	return busy
}
