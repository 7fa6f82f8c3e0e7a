package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// A snapshot is a copy of the directories of all Nodes, without their images, which are read-only,
// made while no process of the lab runs: what the disks of machines have that lose power.

// disks, in a snapshot, has the copies.
const disks = "nodes"

// description is the file in a snapshot that makes it complete.
const description = "snapshot.json"

type snapshot struct {
	Created time.Time          `json:"created"`
	Nodes   []topology.Machine `json:"nodes"`
	Bytes   int64              `json:"bytes"`
}

// volatile are the files in a Node's directory that belong to its processes.
var volatile = []string{"pid", "runc", "runc.log", "config.json", "rootfs", "work"}

// Save implements providers.Snapshotter.
func (p Provider) Save(ctx context.Context, plan topology.Plan, dir, name string) (err error) {
	to := providers.SnapshotDir(dir, name)
	if _, err := os.Stat(to); err == nil {
		return providers.SnapshotExists(plan.Lab, name)
	}
	for _, m := range plan.Nodes() {
		if n := nodeOf(plan.Lab, dir, m); n.PID() == 0 {
			return hint.With(providers.Off(m), "start it with `netlab up`")
		}
	}
	partial := providers.SnapshotDir(dir, ".saving")
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(filepath.Join(partial, disks), 0o700)); err != nil {
		return err
	}
	err = local.Freeze(ctx, plan.Lab, func() error {
		return each(ctx, plan, func(ctx context.Context, m topology.Machine) error {
			return copyDisk(ctx, nodeOf(plan.Lab, dir, m).Dir, filepath.Join(partial, disks, m.Name))
		})
	})
	if err != nil {
		return fmt.Errorf("save the disks of lab %s: %w", plan.Lab, err)
	}
	if err := syncDisk(partial); err != nil {
		return err
	}
	s := snapshot{Created: time.Now().UTC(), Nodes: plan.Nodes()}
	if s.Bytes, err = size(filepath.Join(partial, disks)); err != nil {
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return errors.Join(atomicfile.Write(filepath.Join(partial, description), data, 0o644), os.Rename(partial, to))
}

// Restore implements providers.Snapshotter. The disks are copied beside those of the Nodes, and then
// take their place at once: whatever ends Restore, the lab has the ones or the others.
func (p Provider) Restore(ctx context.Context, plan topology.Plan, dir, name string) (off bool, err error) {
	from := providers.SnapshotDir(dir, name)
	s, found, err := readSnapshot(from)
	if err != nil {
		return false, err
	}
	if !found {
		return false, providers.NoSnapshot(plan.Lab, name)
	}
	if !reflect.DeepEqual(s.Nodes, plan.Nodes()) {
		return false, hint.With(fmt.Errorf("the Nodes of lab %s have changed since snapshot %q", plan.Lab, name), "restore the lab file and run `netlab up`, then restore the snapshot")
	}
	for _, m := range plan.Nodes() {
		if !local.HasImages(filepath.Join(from, disks, m.Name), nodeOf(plan.Lab, dir, m).Dir) {
			return false, hint.With(fmt.Errorf("the images of the lab have changed since snapshot %q", name), "`netlab up` with the lab file and the netlab of then provides them again")
		}
	}
	next := filepath.Join(dir, "nodes.next")
	defer func() { err = errors.Join(err, os.RemoveAll(next)) }() // what was swapped out, after a success
	if err := errors.Join(os.RemoveAll(providers.SnapshotDir(dir, ".saving")), os.RemoveAll(next), os.MkdirAll(next, 0o755)); err != nil {
		return false, err
	}
	err = each(ctx, plan, func(ctx context.Context, m topology.Machine) error {
		to := filepath.Join(next, m.Name)
		if err := copyDisk(ctx, filepath.Join(from, disks, m.Name), to); err != nil {
			return err
		}
		return errors.Join(os.Mkdir(filepath.Join(to, "rootfs"), 0o755), os.Mkdir(filepath.Join(to, "work"), 0o755))
	})
	if err != nil {
		return false, fmt.Errorf("restore the disks of lab %s: %w", plan.Lab, err)
	}
	if err := local.Unfreeze(plan.Lab); err != nil {
		return false, err
	}
	err = each(ctx, plan, func(ctx context.Context, m topology.Machine) error { return nodeOf(plan.Lab, dir, m).Clear(ctx) })
	if err != nil {
		return false, err
	}
	nodes := filepath.Join(dir, "nodes")
	if err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, nodes, unix.RENAME_EXCHANGE); err != nil {
		return false, &fs.PathError{Op: "exchange with " + next, Path: nodes, Err: err}
	}
	return true, nil
}

// Snapshots implements providers.Snapshotter.
func (p Provider) Snapshots(dir string) ([]providers.Snapshot, error) {
	entries, err := os.ReadDir(providers.SnapshotDir(dir, ""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []providers.Snapshot
	for _, e := range entries {
		s, found, read := readSnapshot(providers.SnapshotDir(dir, e.Name()))
		err = errors.Join(err, read)
		if found && read == nil && e.Name() != ".saving" {
			all = append(all, providers.Snapshot{Name: e.Name(), Created: s.Created, Bytes: s.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b providers.Snapshot) int { return a.Created.Compare(b.Created) })
	return all, err
}

func readSnapshot(dir string) (s snapshot, found bool, err error) {
	found, err = atomicfile.ReadJSON(filepath.Join(dir, description), &s)
	return s, found, err
}

// each calls do for all Nodes at the same time.
func each(ctx context.Context, plan topology.Plan, do func(context.Context, topology.Machine) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, m := range plan.Nodes() {
		all.Go(func() error { return do(ctx, m) })
	}
	return all.Wait()
}

// copyDisk copies a Node's directory without what belongs to its processes. cp keeps owners,
// extended attributes, devices (whiteouts of overlays), hard links and holes, and shares blocks where
// the file system can; it follows no link.
func copyDisk(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	args := []string{"-a", "--reflink=auto", "--target-directory=" + to, "--"}
	for _, e := range entries {
		if !slices.Contains(volatile, e.Name()) {
			args = append(args, filepath.Join(from, e.Name()))
		}
	}
	_, err = command.Run(exec.CommandContext(ctx, "cp", args...))
	return err
}

// syncDisk waits until what was written to a directory's file system is on the disk.
func syncDisk(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// size is the space that the files below a directory take.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err == nil {
			total += st.Blocks * 512
		}
		return err
	})
	return total, err
}
