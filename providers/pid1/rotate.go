package pid1

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rotateEvery = 30 * time.Second
	largestLog  = 16 << 20 // bytes, before it is rotated
	ownLog      = "/var/log/init.log"
)

// rotate empties a log that exceeds the limit, after it was copied to NAME.1. Its writer keeps it
// open, for appending: a renamed log would still be written to. Lines that are written between the
// two are lost.
func rotate(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() <= limit {
		return err
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		return err
	}
	old, err := os.OpenFile(path+".1", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, f)
	// On a full disk too: the log is what fills it.
	return errors.Join(err, old.Close(), f.Truncate(0))
}

// rotate rotates the logs of the services and of PID 1 itself.
func (s *supervisor) rotate() {
	logs := []string{ownLog}
	for _, u := range s.units {
		logs = append(logs, u.Log)
	}
	for _, log := range logs {
		if err := rotate(log, largestLog); err != nil {
			s.say("rotate %s: %v", log, err)
		}
	}
}
