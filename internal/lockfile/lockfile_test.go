package lockfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A held lock names its holder, is waited for within the limit, and only its owner can open it.
func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as earlier versions left it
		t.Fatal(err)
	}
	release, err := Take(t.Context(), path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the lock file has mode %v (%v): every user can hold it", info.Mode(), err)
	}
	var busy *BusyError
	if _, err := Take(t.Context(), path, 0, nil); !errors.As(err, &busy) || busy.PID != os.Getpid() || !strings.Contains(busy.Holder(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a held lock: %v", err)
	}
	said, began := 0, time.Now()
	if _, err := Take(t.Context(), path, 50*time.Millisecond, func(*BusyError) { said++ }); !errors.As(err, &busy) || said != 1 || time.Since(began) > 10*time.Second {
		t.Errorf("a held lock with a limit: %v after %s, said %d times", err, time.Since(began), said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, path, time.Hour, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was cancelled: %v", err)
	}
	got := make(chan error)
	go func() {
		release, err := Take(t.Context(), path, time.Minute, nil)
		if err == nil {
			release()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Errorf("a lock that was released: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %s (%v)", path, err)
	}
}

// Many at once: one at a time has it, though each removes the file as it lets go.
func TestExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	inside, most := 0, 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				release, err := Take(t.Context(), path, time.Minute, nil)
				if err != nil {
					t.Error(err)
					return
				}
				inside++ // the lock itself guards it
				most = max(most, inside)
				inside--
				release()
			}
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}

// Neither a link nor a FIFO in the place of the file leads or holds anybody up.
func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "precious")
	if err := errors.Join(os.WriteFile(target, []byte("mine"), 0o644), os.Symlink(target, filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666)); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(t.Context(), filepath.Join(dir, "link"), 0, nil); err == nil {
		t.Error("a link is followed")
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "mine" {
		t.Errorf("the link's target is %q (%v)", text, err)
	}
	done := make(chan struct{})
	go func() {
		if release, err := Take(t.Context(), filepath.Join(dir, "fifo"), 0, nil); err == nil {
			release()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("a FIFO holds the caller up")
	}
}

// On a disk that is read-only or full a lock is held all the same, and excludes others: what it is
// for may be to free the disk. A file that was there before stays the lock.
func TestUnwritableDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts file systems in a namespace of its own")
	}
	disk := t.TempDir()
	done := make(chan struct{})
	go func() { // its thread, which is in other namespaces, ends with it
		defer close(done)
		runtime.LockOSThread()
		mount := func(target string, flags uintptr, options string) {
			if err := unix.Mount("tmpfs", target, "tmpfs", flags, options); err != nil {
				t.Errorf("mount %s (%s): %v", target, options, err)
			}
		}
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			t.Error(err)
			return
		}
		mount("/run", 0, "")
		exclusive := func(disk, path string) {
			release, err := Take(t.Context(), path, 0, nil)
			if err != nil {
				t.Errorf("%s: %v", disk, err)
				return
			}
			var busy *BusyError
			if _, err := Take(t.Context(), path, 0, nil); !errors.As(err, &busy) {
				t.Errorf("%s: a second lock: %v", disk, err)
			}
			other, err := Take(t.Context(), path+".other", 0, nil)
			if err != nil {
				t.Errorf("%s: another lock: %v", disk, err)
				return
			}
			other()
			release()
			if release, err = Take(t.Context(), path, 0, nil); err != nil {
				t.Errorf("%s: after the release: %v", disk, err)
				return
			}
			release()
		}
		mount(disk, 0, "nr_inodes=2")
		left := filepath.Join(disk, "left") // the last inode
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Error(err)
		}
		exclusive("full", filepath.Join(disk, "lock"))
		mount(disk, unix.MS_REMOUNT|unix.MS_RDONLY, "nr_inodes=2")
		exclusive("read-only", filepath.Join(disk, "lock"))
		exclusive("read-only with a lock file", left)
	}()
	<-done
}
