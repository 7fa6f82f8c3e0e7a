package artifacts

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Modules come after those they need, once each, and what the kernel has is left out.
func TestLoadOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep":     "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko\nkernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/drivers/virtio-pci.ko.xz: kernel/drivers/virtio.ko\n",
		"modules.builtin": "kernel/drivers/virtio.ko\nkernel/crypto/crc32c_generic.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := loadOrder(dir, []string{"crc32c_generic", "virtio_pci", "ext4", "jbd2"})
	want := []string{"kernel/drivers/virtio-pci.ko.xz", "kernel/lib/crc16.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, want %v (%v)", got, want, err)
	}
	if _, err := loadOrder(dir, []string{"btrfs"}); err == nil || !strings.Contains(err.Error(), "btrfs") {
		t.Errorf("a module that is not there: %v", err)
	}
}

// The layout of "newc" by hand: a header of 110 bytes, name and data padded to four.
func TestCpio(t *testing.T) {
	w := &cpio{}
	w.file("init", 0o755, []byte("hello"))
	out := w.bytes()
	header := "070701" + "00000001" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000"
	if want := header + "init\x00" + "\x00" + "hello\x00\x00\x00" + "070701"; !bytes.HasPrefix(out, []byte(want)) {
		t.Errorf("got  %q\nwant %q", out, want)
	}
	if len(out)%4 != 0 || !bytes.Contains(out, []byte("TRAILER!!!\x00")) {
		t.Errorf("ends with %q", out[len(out)-20:])
	}
}
