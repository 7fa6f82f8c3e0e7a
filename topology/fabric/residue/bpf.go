package residue

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpf lists the machine's eBPF programs, maps and links by their ids: whatever holds one
// (a pin, a device, a cgroup, a process) keeps it here.
func bpf() (map[string]string, error) {
	out := map[string]string{}
	for name, next := range map[string]uintptr{
		"program": unix.BPF_PROG_GET_NEXT_ID, "map": unix.BPF_MAP_GET_NEXT_ID, "link": unix.BPF_LINK_GET_NEXT_ID,
	} {
		attr := struct{ start, next, flags uint32 }{} // of union bpf_attr in <linux/bpf.h>
		for {
			_, _, errno := unix.Syscall(unix.SYS_BPF, next, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
			if errors.Is(errno, unix.ENOENT) || errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EPERM) || errors.Is(errno, unix.EINVAL) {
				break // the last one; or the kernel does not support or permit listing
			}
			if errno != 0 {
				return out, fmt.Errorf("list each %s: %w", name, errno)
			}
			out[fmt.Sprintf("%s %d", name, attr.next)] = ""
			attr.start = attr.next
		}
	}
	return out, nil
}
