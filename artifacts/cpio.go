package artifacts

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// cpio writes an archive in the "newc" form, the one that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	out   bytes.Buffer
	count int
}

func (w *cpio) dir(name string) { w.entry(name, unix.S_IFDIR|0o755, 0, 0, nil) }

func (w *cpio) file(name string, mode uint32, data []byte) {
	w.entry(name, unix.S_IFREG|mode, 0, 0, data)
}

func (w *cpio) device(name string, major, minor int) {
	w.entry(name, unix.S_IFCHR|0o600, major, minor, nil)
}

// bytes finishes the archive and returns it.
func (w *cpio) bytes() []byte {
	w.entry("TRAILER!!!", 0, 0, 0, nil)
	return w.out.Bytes()
}

// entry writes a header of hexadecimal numbers, a name and the data, each padded to four bytes.
func (w *cpio) entry(name string, mode uint32, major, minor int, data []byte) {
	w.count++
	links := 1
	if mode&unix.S_IFMT == unix.S_IFDIR {
		links = 2
	}
	fmt.Fprintf(&w.out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		w.count, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	w.pad()
	w.out.Write(data)
	w.pad()
}

func (w *cpio) pad() {
	for w.out.Len()%4 != 0 {
		w.out.WriteByte(0)
	}
}
