// Stage1 is the first program of a virtual machine: it loads the modules that lead to the
// root disk, in the order of /modules/order, mounts the disk and becomes netlab there.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	disk    = "/dev/vda"
	program = "/usr/local/bin/netlab"
)

func main() {
	err := boot()
	fmt.Println("stage1:", err)
	time.Sleep(time.Second) // the console is slower than a power cut
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func boot() error {
	for _, m := range []struct{ fs, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		os.MkdirAll(m.at, 0o755)
		if err := syscall.Mount(m.fs, m.at, m.fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if text, _ := os.ReadFile("/proc/cmdline"); strings.Contains(" "+string(text), " netlab.probe") {
		return fmt.Errorf("this machine runs virtual machines")
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		if err := load("/modules/" + name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	os.RemoveAll("/modules")
	os.Mkdir("/root", 0o755)
	// The kernel tells nobody here when a disk has come.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		// Without delayed allocation a machine that is killed keeps what its files had, and no
		// names of empty ones: Flannel's plugin would never get over those of its own.
		if err = syscall.Mount(disk, "/root", "ext4", 0, "noinit_itable,nodelalloc"); err == nil {
			break
		}
		// EINVAL: it is there, and no file system of ours.
		if err == syscall.EINVAL || time.Now().After(deadline) {
			return fmt.Errorf("mount %s: %w", disk, err)
		}
	}
	for _, at := range []string{"/dev", "/proc", "/sys"} {
		if err := syscall.Mount(at, "/root"+at, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", at, err)
		}
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, []string{"netlab", "guest"},
		[]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}))
}

func load(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	none := []byte{0}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&none[0])))
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}
