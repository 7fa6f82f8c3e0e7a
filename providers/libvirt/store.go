package libvirt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/digitalocean/go-libvirt"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/settings"
)

// pool is a lab's storage pool on the hypervisor: one copy of the base volumes, and an overlay and a
// seed for each machine.
type pool struct {
	h      *hypervisor
	of     libvirt.StoragePool
	images string
	done   string // directory with a file for each complete volume
}

// openPool finds or creates the lab's pool.
func openPool(h *hypervisor, lab labs.Name, dir string, size settings.Libvirt) (*pool, error) {
	p := &pool{h: h, images: size.Images, done: filepath.Join(dir, "volumes"+h.suffix())}
	if err := os.MkdirAll(p.done, 0o755); err != nil {
		return nil, err
	}
	var err error
	p.of, err = h.StoragePoolLookupByName(poolName(lab))
	if err != nil && !notFound(err) {
		return nil, fmt.Errorf("storage pool %s: %w", poolName(lab), err)
	}
	if err != nil {
		text, err := write(poolXML{Type: "dir", Name: poolName(lab), Path: filepath.Join(size.Images, poolName(lab))})
		if err != nil {
			return nil, err
		}
		if p.of, err = h.StoragePoolDefineXML(text, 0); err != nil {
			return nil, fmt.Errorf("create storage pool %s: %w", poolName(lab), err)
		}
	}
	active, err := h.StoragePoolIsActive(p.of)
	if err != nil {
		return nil, err
	}
	if active == 0 {
		if err := errors.Join(h.StoragePoolBuild(p.of, 0), h.StoragePoolCreate(p.of, 0)); err != nil {
			return nil, full(fmt.Errorf("start storage pool %s: %w", poolName(lab), err), p.images)
		}
	}
	return p, nil
}

// deletePool removes the lab's pool with its volumes and its directory.
func deletePool(h *hypervisor, lab labs.Name) error {
	of, err := h.StoragePoolLookupByName(poolName(lab))
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs error
	if active, err := h.StoragePoolIsActive(of); err == nil && active == 0 {
		// If its directory is missing, it is only undefined.
		if h.StoragePoolCreate(of, 0) != nil {
			return h.StoragePoolUndefine(of)
		}
	}
	errs = errors.Join(errs, h.StoragePoolRefresh(of, 0))
	volumes, _, err := h.StoragePoolListAllVolumes(of, 1, 0)
	errs = errors.Join(errs, err)
	for _, v := range volumes {
		errs = errors.Join(errs, h.StorageVolDelete(v, 0))
	}
	errs = errors.Join(errs, h.StoragePoolDestroy(of), h.StoragePoolDelete(of, 0), h.StoragePoolUndefine(of))
	if errs != nil {
		return fmt.Errorf("remove storage pool %s: %w", poolName(lab), errs)
	}
	return nil
}

// ensure returns the path of a volume and creates it first unless it is complete.
func (p *pool) ensure(v volumeXML, fill func(libvirt.StorageVol) error) (string, error) {
	mark := filepath.Join(p.done, v.Name)
	there, err := p.h.StorageVolLookupByName(p.of, v.Name)
	if err != nil && !notFound(err) {
		return "", err
	}
	if err == nil {
		if _, whole := os.Stat(mark); whole == nil {
			return p.h.StorageVolGetPath(there)
		}
		if err := p.h.StorageVolDelete(there, 0); err != nil {
			return "", err
		}
	}
	text, err := write(v)
	if err != nil {
		return "", err
	}
	made, err := p.h.StorageVolCreateXML(p.of, text, 0)
	if err == nil && fill != nil {
		err = fill(made)
	}
	if err != nil {
		return "", full(fmt.Errorf("create volume %s: %w", v.Name, err), p.images)
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		return "", err
	}
	return p.h.StorageVolGetPath(made)
}

// removeOf removes the volumes of a machine.
func (p *pool) removeOf(node string) error {
	volumes, _, err := p.h.StoragePoolListAllVolumes(p.of, 1, 0)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if strings.HasPrefix(v.Name, node+".") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.done, v.Name)), p.h.StorageVolDelete(v, 0))
		}
	}
	return err
}

// upload creates a volume from a reader.
func (p *pool) upload(name string, size int64, from io.Reader) (string, error) {
	return p.ensure(volumeXML{Name: name, Capacity: inBytes{"bytes", size}, Format: formatXML{"raw"}}, func(v libvirt.StorageVol) error {
		return p.h.StorageVolUpload(v, from, 0, uint64(size), 0)
	})
}

// uploadFile creates a volume from a file.
func (p *pool) uploadFile(name, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	return p.upload(name, info.Size(), f)
}

// base has the paths of the base volumes of all machines of a lab, on the hypervisor.
type base struct {
	kernel, initrd, root string
	image                string // a cloud image, which is booted instead; "" for none
}

// base uploads the base volumes. Their names are derived from their content: existing machines keep
// earlier ones.
func (p *pool) base(d components.Disk) (b base, err error) {
	key := filepath.Base(filepath.Dir(d.Root))
	if b.kernel, err = p.uploadFile(key+".kernel", d.Kernel); err != nil {
		return b, err
	}
	if b.initrd, err = p.uploadFile(key+".initrd", d.Initrd); err != nil {
		return b, err
	}
	if b.root, err = p.uploadFile(key+".root", d.Root); err != nil || d.Image == "" {
		return b, err
	}
	b.image, err = p.uploadFile(filepath.Base(filepath.Dir(d.Image))+".qcow2", d.Image)
	return b, err
}

// The names of the volumes of a machine start with its name and a dot.
func overlayName(node string, layer int) string { return fmt.Sprintf("%s.%d.qcow2", node, layer) }
func besideName(node string, layer int) string  { return fmt.Sprintf("%s.%d.beside.qcow2", node, layer) }
func seedName(node string) string               { return node + ".seed.iso" }

// overlay creates a machine's disk: a writable overlay of an unchanging volume.
func (p *pool) overlay(name string, over backingXML, size labs.Size) (string, error) {
	return p.ensure(volumeXML{Name: name, Capacity: inBytes{"bytes", int64(size)}, Format: formatXML{"qcow2"}, Backing: &over}, nil)
}

// labsWith lists the labs that have domains or pools on a hypervisor.
func labsWith(h *hypervisor) ([]labs.Name, error) {
	var found []labs.Name
	domains, _, err1 := h.ConnectListAllDomains(1, 0)
	for _, d := range domains {
		if lab, ours := labOf(d.Name); ours {
			found = append(found, lab)
		}
	}
	pools, _, err2 := h.ConnectListAllStoragePools(1, 0)
	for _, p := range pools {
		if lab, ours := labOf(p.Name); ours {
			found = append(found, lab)
		}
	}
	return found, errors.Join(err1, err2)
}

// nodesOf returns the domains of a lab, by Node.
func nodesOf(h *hypervisor, lab labs.Name) (map[string]libvirt.Domain, error) {
	all, _, err := h.ConnectListAllDomains(1, 0)
	if err != nil {
		return nil, fmt.Errorf("list the domains of %s: %w", h.uri, err)
	}
	nodes := map[string]libvirt.Domain{}
	for _, d := range all {
		if node, ours := strings.CutPrefix(d.Name, domainName(lab, "")); ours {
			nodes[node] = d
		}
	}
	return nodes, nil
}
