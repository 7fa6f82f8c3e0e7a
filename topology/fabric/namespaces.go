package fabric

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/lockfile"
	"netlab.dev/netlab/labs"
)

// dir is where network namespaces are pinned; `ip netns` lists and enters them there.
const dir = "/run/netns"

// mountSource marks the tmpfs that netlab puts on dir, so that removing the last
// lab can recognize it as netlab's mount.
const mountSource = "netlab"

// Name returns the pinned name of a machine's network namespace, or of the lab's fabric
// for machine "". Both are DNS labels, so that the dots are unambiguous.
func Name(lab labs.Name, machine string) string {
	if machine == "" {
		return pinPrefix + lab.Label()
	}
	return pinPrefix + lab.Label() + "." + machine
}

// pinPrefix is the prefix of all pinned names.
const pinPrefix = "netlab."

// Labs lists the labs that have pinned namespaces on this machine.
func Labs() []labs.Name {
	pins, _ := filepath.Glob(filepath.Join(dir, pinPrefix+"*"))
	var found []labs.Name
	for _, pin := range pins {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(pin), pinPrefix), ".")
		if lab, err := labs.ParseName(name); err == nil {
			found = append(found, lab)
		}
	}
	return found
}

// Path returns the file of the namespace, for an OCI spec or nsenter.
func Path(lab labs.Name, machine string) string { return filepath.Join(dir, Name(lab, machine)) }

// Enter runs fn on a separate thread inside the network namespace of a machine, or
// of the fabric for machine "". The caller's thread is not affected; what fn starts
// on other goroutines runs outside. Sockets and processes that fn creates stay inside.
func Enter(lab labs.Name, machine string, fn func() error) error {
	if err := lab.Check(); err != nil {
		return err
	}
	ns, err := open(Name(lab, machine))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("enter namespace %s: %w", Name(lab, machine), err)
	} else if err != nil {
		return err
	}
	defer ns.Close()
	return inside(ns, fn)
}

// inside runs fn on a thread in the namespace.
func inside(ns netns.NsHandle, fn func() error) error {
	return onThread(func() error { return netns.Set(ns) }, fn)
}

// onThread runs fn on a locked thread after enter has changed its namespace. The
// thread goes back to the pool in the namespace it came from, or exits
// with its goroutine: no other goroutine ever runs on it in another namespace.
func onThread(enter, fn func() error) error {
	err := errors.New("function exited its goroutine inside a network namespace")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		own, e := netns.Get()
		if e != nil {
			err = e
			return
		}
		defer own.Close()
		if e := enter(); e != nil {
			err = e
			return
		}
		err = fn()
		if netns.Set(own) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return err
}

// lockFile exists while a process changes dir or the links of a lab. Only root can make files in
// /run, and only root can open and so lock this one.
const lockFile = "/run/netlab.lock"

// lockLimit bounds the wait for another netlab process, which changes the links of a lab within
// a few seconds.
const lockLimit = 45 * time.Second

// lock serializes changes to dir and to the labs across processes.
func lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = lockfile.Take(ctx, lockFile, lockLimit, nil)
	var busy *lockfile.BusyError
	if errors.As(err, &busy) {
		err = hint.With(fmt.Errorf("timed out waiting for the lock of the machine's lab networks: %w", err), "if that process hangs, end it")
	}
	return unlock, err
}

// makeDir makes dir a mount point, as `ip netns add` does and expects: it would bind
// the directory over itself otherwise, and hide existing pins. A directory with
// entries that is not a mount point was set up by another program and is not changed.
//
// The sticky bit marks a directory that netlab created. mkdir sets it atomically, so that a
// killed netlab never leaves an unmarked directory.
func makeDir() error {
	if err := os.Mkdir(dir, 0o755|fs.ModeSticky); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_, mounted, err := mountOn(dir)
	if err != nil || mounted {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return err
	}
	if err := unix.Mount(mountSource, dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	// Shared, so that removing a pin also removes it from mount namespaces that were
	// copied from this one; a private copy would keep the namespace alive.
	return unix.Mount("", dir, "", unix.MS_SHARED, "")
}

// releaseDir undoes makeDir once dir is empty.
func releaseDir() error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(entries) > 0 {
		return err
	}
	source, mounted, err := mountOn(dir)
	if err != nil || mounted && source != mountSource {
		return err
	}
	if mounted {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&fs.ModeSticky == 0 {
		return err
	}
	return os.Remove(dir)
}

// mountOn returns the source of the mount whose root path is. The mount is looked up by
// its id: mountinfo also lists mounts of the same path that lie hidden below others.
func mountOn(path string) (source string, mounted bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &st); err != nil {
		return "", false, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return "", false, nil
	}
	info, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return "", true, err
	}
	for line := range strings.Lines(string(info)) {
		place, rest, _ := strings.Cut(line, " - ")
		if f := strings.Fields(rest); len(f) > 1 && strings.HasPrefix(place, strconv.FormatUint(st.Mnt_id, 10)+" ") {
			return f[1], true, nil
		}
	}
	return "", true, nil
}

// pins lists the pinned names of a lab, machines first and the fabric last: if
// they are removed in this order, an interrupted removal can be continued from the fabric.
func pins(lab labs.Name) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	fabric := false
	for _, e := range entries {
		switch {
		case e.Name() == Name(lab, ""):
			fabric = true
		case strings.HasPrefix(e.Name(), Name(lab, "")+"."):
			names = append(names, e.Name())
		}
	}
	if fabric {
		names = append(names, Name(lab, ""))
	}
	return names, err
}

// pinned reports whether a name stands for a namespace: it is mounted there, or of a running
// process. A plain file of that name is left by a kill between creating the file and mounting on it.
func pinned(name string) bool {
	if pid, linked := holderOf(name); linked {
		return pid != 0
	}
	var st unix.Statfs_t
	err := unix.Statfs(filepath.Join(dir, name), &st)
	return err == nil && st.Type == unix.NSFS_MAGIC
}

// pin creates and pins a namespace. It replaces a link to that of a machine that is off.
func pin(name string) error {
	if _, linked := holderOf(name); linked {
		if err := unpin(name); err != nil {
			return err
		}
	}
	return onThread(
		func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		func() error { return pinPath(name, "/proc/thread-self/ns/net") },
	)
}

func pinPath(name, namespace string) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(namespace, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("pin %s: %w", name, err), os.Remove(path))
	}
	return nil
}

// unpin removes a pin. The kernel frees the namespace with its last process and socket.
func unpin(name string) error {
	path := filepath.Join(dir, name)
	for range 8 { // several mounts may lie on one another
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			break
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin %s: %w", name, err)
	}
	return nil
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}
