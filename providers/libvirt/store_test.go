package libvirt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/libvirt/remote"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/providertest"
)

// A real libvirtd, no machine: the pool, its volumes, what a killed `up` leaves of them,
// and that nothing stays.
func TestStore(t *testing.T) {
	providertest.NeedLabs(t)
	tiny := t.TempDir()
	if err := unix.Mount("tmpfs", tiny, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(tiny, unix.MNT_DETACH)
	d := libvirttest.Start(t)
	h, err := connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if found, err := kinds(h); err != nil || !slices.Contains(found, emulated) {
		t.Errorf("kinds are %v (%v)", found, err)
	}
	dir, size := t.TempDir(), settings.Libvirt{Images: d.Images}
	p, err := openPool(h, labs.MustName("nlt-store"), dir, size)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	path, err := p.upload("k.root", int64(len(content)), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) || filepath.Dir(path) != filepath.Join(d.Images, "netlab.nlt-store") {
		t.Errorf("%s has %d bytes (%v)", path, len(got), err)
	}
	over, err := p.overlay(overlayName("cp", 0), backingXML{path, formatXML{"raw"}}, 8<<30)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(over); err != nil || !bytes.HasPrefix(got, []byte("QFI\xfb")) || !bytes.Contains(got, []byte(path)) {
		t.Errorf("the overlay is not a qcow2 over %s (%v)", path, err)
	}

	// A machine's volumes go without those of one whose name begins alike.
	other, err := p.upload(seedName("cp2"), 1, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.removeOf("cp"); err != nil {
		t.Error(err)
	}
	_, gone := os.Stat(over)
	if _, err := os.Stat(other); err != nil || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("its own volume: %v; another's: %v", gone, err)
	}

	// What is whole stays; what is not is made again.
	if again, err := p.upload("k.root", 1, strings.NewReader("x")); err != nil || again != path {
		t.Errorf("%s (%v)", again, err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, content) {
		t.Error("a whole volume was written again")
	}
	if err := os.Remove(filepath.Join(p.done, "k.root")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.upload("k.root", 1, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "x" {
		t.Errorf("half a volume stayed: %d bytes", len(got))
	}

	// A full disk is reported with the fix, and incomplete files are removed like the rest.
	small, err := openPool(h, labs.MustName("nlt-full"), t.TempDir(), settings.Libvirt{Images: tiny})
	if err != nil {
		t.Fatal(err)
	}
	var hinted interface{ Hint() string }
	if _, err := small.upload("k.root", int64(len(content)), bytes.NewReader(content)); !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), tiny) {
		t.Errorf("a full pool: %v", err)
	}
	if err := deletePool(h, labs.MustName("nlt-full")); err != nil {
		t.Error(err)
	}

	if found, err := labsWith(h); err != nil || !slices.Equal(found, []labs.Name{labs.MustName("nlt-store")}) {
		t.Errorf("labs are %v (%v)", found, err)
	}
	for range 2 {
		if err := deletePool(h, labs.MustName("nlt-store")); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(d.Images); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
	if found, err := labsWith(h); err != nil || len(found) > 0 {
		t.Errorf("labs are %v (%v)", found, err)
	}
	if ok, err := running(h, "netlab.nlt-store.cp"); ok || err != nil {
		t.Errorf("a domain that is not there runs: %t (%v)", ok, err)
	}
	var exists *os.PathError
	if _, err := p.uploadFile("k", filepath.Join(dir, "none")); !errors.As(err, &exists) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Whether Nodes are emulated is known per hypervisor, from what was found there.
func TestEmulated(t *testing.T) {
	other := &hypervisor{remote: &remote.Machine{At: settings.Hypervisor{Host: "kvm2"}}}
	for name, c := range map[string]struct {
		found map[string]string // file → kind
		want  bool
	}{
		"nothing found yet":  {nil, false},
		"hardware on both":   {map[string]string{"virtualisation": hardware, "virtualisation@kvm2": hardware}, false},
		"one of two":         {map[string]string{"virtualisation": hardware, "virtualisation@kvm2": emulated}, true},
		"one of no more use": {map[string]string{"virtualisation": hardware, "virtualisation@kvm3": emulated}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, kind := range c.found {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(kind), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := (hypervisors{"": {}, "qemu+ssh://kvm2/system": other}).emulated(dir); got != c.want {
				t.Errorf("emulated: %t", got)
			}
		})
	}
}
