package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
)

// frozen is a saved snapshot: the settings of each machine, and its disk, which is no longer written
// to. Its memory is in the file <node>.ram in the same directory.
type frozen struct {
	Created time.Time       `json:"created"`
	Nodes   map[string]made `json:"nodes"`
	// RemoteBytes is the size of saved memory on remote machines.
	RemoteBytes int64 `json:"elsewhere,omitempty"`
}

// Save implements providers.Snapshotter. All machines are paused at the same moment; the memory of
// each is saved, its disk is kept unchanged, and it continues on a new overlay.
func (p Provider) Save(ctx context.Context, plan topology.Plan, dir, name string) error {
	if _, err := os.Stat(providers.SnapshotDir(dir, name)); err == nil {
		return providers.SnapshotExists(plan.Lab, name)
	}
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	there, err := hs.nodesOf(plan.Lab)
	if err != nil {
		return err
	}
	partial := providers.SnapshotDir(dir, ".saving")
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(partial, 0o700)); err != nil {
		return err
	}
	for _, h := range hs {
		if p := providers.SnapshotDir(h.dir(plan.Lab, dir), ".saving"); h.remote != nil {
			if err := errors.Join(h.clear(ctx, p), h.mkdir(ctx, p)); err != nil {
				return err
			}
		}
	}
	snapshot := frozen{Created: time.Now().UTC(), Nodes: map[string]made{}}
	for _, m := range plan.Nodes() {
		n := nodeOf(plan.Lab, dir, m)
		was, whole := n.recall()
		if on, err := running(hs.of(m), n.domain()); err != nil || !on || !whole {
			return hint.With(errors.Join(providers.Off(m), err), "start it with `netlab up`")
		}
		snapshot.Nodes[m.Name] = was
	}
	for _, m := range plan.Nodes() {
		if err := hs.of(m).DomainSuspend(there[m.Name].Domain); err != nil {
			return errors.Join(fmt.Errorf("stop Node %s: %w", m.Name, err), wake(there))
		}
	}
	for _, m := range plan.Nodes() {
		h := hs.of(m)
		memory := filepath.Join(providers.SnapshotDir(h.dir(plan.Lab, dir), ".saving"), m.Name+".ram")
		if err := h.calls.within(memoryLimit, func() error { return h.DomainSave(there[m.Name].Domain, memory) }); err != nil {
			// Machines whose memory was already saved are booted by `up`.
			return full(errors.Join(fmt.Errorf("save the memory of Node %s: %w", m.Name, err), wake(there)), partial)
		}
		if size, err := h.size(ctx, memory); err != nil {
			return err
		} else if h.remote != nil {
			snapshot.RemoteBytes += size
		}
	}
	data, err := json.Marshal(snapshot)
	if err != nil {
		return err
	}
	for _, h := range hs {
		if there := h.dir(plan.Lab, dir); h.remote != nil {
			if err := h.rename(ctx, providers.SnapshotDir(there, ".saving"), providers.SnapshotDir(there, name)); err != nil {
				return err
			}
		}
	}
	err = errors.Join(os.WriteFile(filepath.Join(partial, "snapshot.json"), data, 0o644), os.Rename(partial, providers.SnapshotDir(dir, name)))
	if err != nil {
		return err
	}
	return p.thaw(ctx, hs, plan, dir, name, snapshot)
}

// domain is a Node's domain and its hypervisor.
type domain struct {
	libvirt.Domain
	of *hypervisor
}

// nodesOf returns the domains of a lab on all of its hypervisors, by Node.
func (hs hypervisors) nodesOf(lab labs.Name) (map[string]domain, error) {
	all := map[string]domain{}
	for _, h := range hs {
		there, err := nodesOf(h, lab)
		if err != nil {
			return nil, err
		}
		for name, d := range there {
			all[name] = domain{d, h}
		}
	}
	return all, nil
}

// size returns the size of a file on the hypervisor's machine.
func (h *hypervisor) size(ctx context.Context, path string) (int64, error) {
	if h.remote == nil {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	out, err := h.remote.Run(ctx, nil, "stat", "-c", "%s", path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

// wake resumes paused domains.
func wake(domains map[string]domain) (errs error) {
	for _, d := range domains {
		if err := d.of.DomainResume(d.Domain); err != nil && !notFound(err) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// Restore implements providers.Snapshotter: the memory of the machines is restored with them.
func (p Provider) Restore(ctx context.Context, plan topology.Plan, dir, name string) (off bool, err error) {
	snapshot, err := readSnapshot(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, providers.NoSnapshot(plan.Lab, name)
	}
	if err != nil {
		return false, err
	}
	for _, m := range plan.Nodes() {
		if was, there := snapshot.Nodes[m.Name]; !there || !reflect.DeepEqual(was.Machine, m) || len(snapshot.Nodes) != len(plan.Nodes()) {
			return false, hint.With(fmt.Errorf("the machines of lab %s have changed since snapshot %q", plan.Lab, name), "restore the lab file and run `netlab up`")
		}
	}
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return false, err
	}
	defer hs.close()
	return false, p.thaw(ctx, hs, plan, dir, name, snapshot)
}

// thaw resumes a lab's machines from a snapshot, all at the same moment, each on a new overlay of the
// snapshot's disk.
func (p Provider) thaw(ctx context.Context, hs hypervisors, plan topology.Plan, dir, name string, snapshot frozen) error {
	for _, m := range plan.Nodes() {
		n, was, h := nodeOf(plan.Lab, dir, m), snapshot.Nodes[m.Name], hs.of(m)
		kind, err := os.ReadFile(filepath.Join(dir, virtualisationFile+h.suffix()))
		if err != nil {
			return err
		}
		store, err := openPool(h, plan.Lab, dir, settings.Of(plan))
		if err != nil {
			return err
		}
		if err := destroy(h, n.domain()); err != nil {
			return err
		}
		now, _ := n.recall()
		was.Layers = max(was.Layers, now.Layers) + 1
		if was.Overlay, err = store.overlay(overlayName(m.Name, was.Layers), backingXML{was.Overlay, formatXML{"qcow2"}}, settings.Of(plan).Disk); err != nil {
			return err
		}
		if was.Beside != "" {
			if was.Beside, err = store.overlay(besideName(m.Name, was.Layers), backingXML{was.Beside, formatXML{"qcow2"}}, settings.Of(plan).Disk); err != nil {
				return err
			}
		}
		if err := n.remember(was); err != nil {
			return err
		}
		v, err := n.virtual(h, plan, string(kind))
		if err != nil {
			return err
		}
		text, err := v.xml()
		if err != nil {
			return err
		}
		memory := filepath.Join(providers.SnapshotDir(h.dir(plan.Lab, dir), name), m.Name+".ram")
		err = h.calls.within(memoryLimit, func() error {
			return h.DomainRestoreFlags(memory, libvirt.OptString{text}, uint32(libvirt.DomainSavePaused))
		})
		if err != nil {
			return fmt.Errorf("restore the memory of Node %s: %w", m.Name, err)
		}
		if err := n.plug(ctx, h, plan, v); err != nil {
			return err
		}
	}
	there, err := hs.nodesOf(plan.Lab)
	if err != nil {
		return err
	}
	if err := wake(there); err != nil {
		return err
	}
	// Their clocks were stopped.
	clocks, ctx := errgroup.WithContext(ctx)
	for _, m := range plan.Nodes() {
		n := nodeOf(plan.Lab, dir, m)
		clocks.Go(func() error {
			s := n.session()
			if err := n.await(ctx, hs.of(m), s, bootLimit(plan)); err != nil {
				return err
			}
			if err := s.run(ctx, "date", "--set=@"+strconv.FormatInt(time.Now().Unix(), 10)); err != nil {
				return fmt.Errorf("set the clock of Node %s: %w", m.Name, err)
			}
			return nil
		})
	}
	return clocks.Wait()
}

func readSnapshot(dir, name string) (s frozen, err error) {
	data, err := os.ReadFile(filepath.Join(providers.SnapshotDir(dir, name), "snapshot.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// Snapshots implements providers.Snapshotter.
func (p Provider) Snapshots(dir string) ([]providers.Snapshot, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []providers.Snapshot
	for _, e := range entries {
		s, err := readSnapshot(dir, e.Name())
		if err != nil {
			continue // one that was not saved completely
		}
		found := providers.Snapshot{Name: e.Name(), Created: s.Created, Bytes: s.RemoteBytes}
		files, err := os.ReadDir(providers.SnapshotDir(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				found.Bytes += info.Size()
			}
		}
		all = append(all, found)
	}
	slices.SortFunc(all, func(a, b providers.Snapshot) int { return a.Created.Compare(b.Created) })
	return all, nil
}
