package fabric

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
)

// A machine's namespace must end with the machine: the address of one that is off answers no ARP,
// no ping and no connection. So it is pinned by a mount only until its PID 1 runs in it; from then
// on its name is a symbolic link to /proc/<pid>/ns/net. When PID 1 dies, whatever killed it, the
// kernel removes the namespace and with it the NICs and their ports in the fabric: the other
// machines see what a switch with an unplugged cable shows. Process ids are reused: the link's
// modification time is the start of the process, in clock ticks since boot.

// Adopt makes the network namespace of a process, the machine's PID 1, the machine's: Create plugs
// NICs into it. It is idempotent, and replaces the namespace of an earlier PID 1. Delete removes
// only the NICs and the name.
func Adopt(ctx context.Context, lab labs.Name, machine string, pid int) error {
	if err := lab.Check(); err != nil {
		return err
	}
	process, err := procfs.Read(pid)
	if err != nil {
		return fmt.Errorf("adopt namespace of %s: %w", machine, err)
	}
	path := namespaceOf(pid)
	given, err := inode(path)
	if err != nil {
		return fmt.Errorf("adopt namespace of %s: %w", machine, err)
	}
	for _, own := range []string{"/proc/thread-self/ns/net", "/proc/1/ns/net"} {
		if mine, err := inode(own); err == nil && mine == given {
			return fmt.Errorf("adopt namespace of %s: %s is this machine's network namespace", machine, path)
		}
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := makeDir(); err != nil {
		return err
	}
	name := Name(lab, machine)
	if holder, linked := holderOf(name); linked && holder == pid {
		return nil
	}
	if err := unpin(name); err != nil {
		return err
	}
	return link(name, pid, process.Start)
}

// Has reports whether a machine has a namespace: Create made one, and its PID 1, if there was one,
// has not exited.
func Has(lab labs.Name, machine string) bool { return lab.Check() == nil && pinned(Name(lab, machine)) }

func namespaceOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// link names the namespace of a process. The link gets its name when it is complete.
func link(name string, pid int, start string) error {
	ticks, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return fmt.Errorf("start of process %d: %w", pid, err)
	}
	path := filepath.Join(dir, name)
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(namespaceOf(pid), next); err != nil {
		return err
	}
	times := []unix.Timespec{{Sec: ticks}, {Sec: ticks}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, next, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return errors.Join(&fs.PathError{Op: "utimensat", Path: next, Err: err}, os.Remove(next))
	}
	return os.Rename(next, path)
}

// holderOf returns the process that a name links to, 0 if it has exited; linked is false for a
// name that is pinned or missing.
func holderOf(name string) (pid int, linked bool) {
	path := filepath.Join(dir, name)
	target, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	if _, err := fmt.Sscanf(target, "/proc/%d/ns/net", &pid); err != nil {
		return 0, true
	}
	process, err := procfs.Read(pid)
	if err != nil || process.Exiting() || process.Start != strconv.FormatInt(info.ModTime().Unix(), 10) {
		return 0, true
	}
	return pid, true
}

// open opens a namespace by its name. That of a machine whose PID 1 has exited does not exist.
func open(name string) (netns.NsHandle, error) {
	pid, linked := holderOf(name)
	path := filepath.Join(dir, name)
	gone := &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	if linked && pid == 0 {
		return netns.None(), gone
	}
	ns, err := netns.GetFromPath(path)
	if err != nil || !linked {
		return ns, err
	}
	if again, _ := holderOf(name); again != pid { // exited meanwhile: the path may be another's
		ns.Close()
		return netns.None(), gone
	}
	return ns, nil
}
