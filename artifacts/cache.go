package artifacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/artifacts/bundle"
	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/internal/atomicfile"
)

// The kinds of entries of the cache, each a directory of <name>-<key>. An entry is made in
// tmp, under its own lock, and renamed: an entry with its final name is complete.
const (
	inBuilds  = "builds"  // bin/<output>
	inModules = "modules" // files/<copy> of a Go module
	inLayers  = "layers"  // layer.tar
	inImages  = "images"  // an OCI layout
	inRootfs  = "rootfs"  // root/
	inStores  = "stores"  // root/, a containerd root
	inSelf    = "self"    // netlab
	inDisks   = "disks"   // kernel, initrd, root.img
	inPins    = "pins"    // the digest that a tag had: nothing but the record
	inClouds  = "clouds"  // image.qcow2
	inCaches  = "caches"  // <component>-<name>, filled by new labs
	inBundles = "bundles" // only in tmp: the blobs of a bundle that is imported
	inSums    = "sumdb"   // what is known of Go's checksum database
	inPulls   = "pulls"   // blobs of images that are not complete yet, by their digest
	inTmp     = "tmp"
	inLocks   = "locks"
	inLogs    = "logs"
)

// item names an entry of the cache. The key covers everything that the entry is made from.
type item struct{ kind, name, key string }

func (i item) String() string { return i.name + "-" + i.key }

// record is stored next to each entry.
type record struct {
	From    string  `json:"from"`             // where it came from: fromBuild, fromRegistry, fromURL or fromBundle
	Origin  string  `json:"origin,omitempty"` // where the bundle had it from
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
	// Digest of a layer's tar, of an archive of the entry, or of an image that was pulled, as its
	// reference led to it.
	Digest string `json:"digest,omitempty"`
	// Self is the sha256 of the netlab executable that the entry contains.
	Self string `json:"self,omitempty"`
}

const recordFile = "record.json"

// keyOf hashes values by their JSON: 16 hex digits.
func keyOf(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		if err := json.NewEncoder(h).Encode(p); err != nil {
			panic(fmt.Sprintf("components: key of %T: %v", p, err)) // only plain data is ever given
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// keyOfFiles hashes the names and contents of a file or tree.
func keyOfFiles(fsys fs.FS, root string) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, p)
		fmt.Fprintf(h, "%q %d\n", p, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

func (c Cache) path(i item) string { return filepath.Join(c.Dir, i.kind, i.String()) }

// have reports whether the cache holds an entry, and returns its record.
func (c Cache) have(i item) (record, bool) {
	var rec record
	found, err := atomicfile.ReadJSON(filepath.Join(c.path(i), recordFile), &rec)
	if err != nil || !found || rec.From == "" {
		return record{}, false
	}
	return rec, true
}

// setAside moves an entry whose record is missing or damaged out of the way of a new one, to where
// sweep removes it: nobody knows whether it is whole.
func (c Cache) setAside(i item) error {
	aside := c.tmp(i) + "-damaged"
	if err := errors.Join(os.RemoveAll(aside), os.MkdirAll(filepath.Dir(aside), 0o755)); err != nil {
		return err
	}
	if err := os.Rename(c.path(i), aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the damaged entry %s of the cache aside: %w", i, err)
	}
	return nil
}

// keep returns the path of an entry, and makes it if the cache lacks it. Two processes that
// need the same entry make it once. make fills an empty directory and may set the record's
// From and Digest; its step of progress starts when the work does.
func (c Cache) keep(ctx context.Context, i item, make func(dir string, rec *record) error) (string, error) {
	path := c.path(i)
	if _, ok := c.have(i); ok {
		c.used(i)
		return path, nil
	}
	unlock, err := c.lock(ctx, i)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, ok := c.have(i); ok {
		return path, nil
	}
	tmp := c.tmp(i)
	// The lock is held, so the process that left this has exited.
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := errors.Join(os.MkdirAll(tmp, 0o755), os.MkdirAll(filepath.Dir(path), 0o755)); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := c.setAside(i); err != nil {
		return "", err
	}
	rec, start := record{From: fromBuild}, time.Now()
	if err := make(tmp, &rec); err != nil {
		return "", err
	}
	rec.Seconds = time.Since(start).Seconds()
	if rec.Bytes, err = sizeOf(tmp); err != nil {
		return "", err
	}
	if rec.Digest == "" && forms[i.kind] == bundle.FormTree {
		if rec.Digest, err = treeDigest(tmp); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return "", err
	}
	if err := atomicfile.Write(filepath.Join(tmp, recordFile), data, 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(tmp, path)
}

func (c Cache) tmp(i item) string { return filepath.Join(c.Dir, inTmp, i.kind+"-"+i.String()) }

// lock takes an entry's lock, which is released when the process exits.
func (c Cache) lock(ctx context.Context, i item) (unlock func(), err error) {
	for {
		unlock, err := c.tryLock(i)
		if err != nil || unlock != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another netlab process to make %s: %w", i, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tryLock is lock without waiting: unlock is nil if another process holds the lock.
func (c Cache) tryLock(i item) (unlock func(), err error) {
	return tryLock(filepath.Join(c.Dir, inLocks, i.kind+"-"+i.String()))
}

func tryLock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return func() { f.Close() }, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return nil, f.Close()
		default:
			return nil, errors.Join(&fs.PathError{Op: "flock", Path: path, Err: err}, f.Close())
		}
	}
}

// pullsKept is for how long the blobs of pulls that were given up are kept, to go on with.
const pullsKept = 7 * 24 * time.Hour

// sweep removes what killed builds left behind, each tmp directory whose lock is free, and blobs
// that nobody pulls any more.
func (c Cache) sweep() error {
	if err := registry.Sweep(c.stage(), pullsKept); err != nil {
		return err
	}
	left, err := os.ReadDir(filepath.Join(c.Dir, inTmp))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var problems []error
	for _, d := range left {
		unlock, err := tryLock(filepath.Join(c.Dir, inLocks, d.Name()))
		if unlock != nil {
			err = os.RemoveAll(filepath.Join(c.Dir, inTmp, d.Name()))
			unlock()
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// keptSelves is for how many netlab executables the entries that contain them are kept.
const keptSelves = 8

// keptDisks is for how many of them the disks of virtual machines are kept: each takes gigabytes.
const keptDisks = 2

// prune removes the entries of netlab executables that were not used recently. Labs are not
// affected: they have their own hard links to the files.
func (c Cache) prune() error {
	type thing struct {
		item
		self string
	}
	var things []thing
	used := map[string]time.Time{}
	for _, kind := range []string{inSelf, inLayers, inImages, inStores, inDisks} {
		entries, err := os.ReadDir(filepath.Join(c.Dir, kind))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			cut := strings.LastIndex(e.Name(), "-")
			if cut < 0 {
				continue
			}
			i := item{kind, e.Name()[:cut], e.Name()[cut+1:]}
			rec, ok := c.have(i)
			if !ok || rec.Self == "" {
				continue
			}
			things = append(things, thing{i, rec.Self})
			if info, err := os.Stat(c.path(i)); kind == inSelf && err == nil {
				used[rec.Self] = info.ModTime()
			}
		}
	}
	selves := slices.SortedFunc(maps.Keys(used), func(a, b string) int { return used[b].Compare(used[a]) })
	keep := selves[:min(len(selves), keptSelves)]
	withDisk := slices.DeleteFunc(slices.Clone(selves), func(self string) bool {
		return !slices.ContainsFunc(things, func(t thing) bool { return t.item.kind == inDisks && t.self == self })
	})
	keepDisks := withDisk[:min(len(withDisk), keptDisks)]
	var problems []error
	for _, t := range things {
		if !slices.Contains(keep, t.self) || t.item.kind == inDisks && !slices.Contains(keepDisks, t.self) {
			problems = append(problems, c.remove(t.item))
		}
	}
	return errors.Join(problems...)
}

// remove removes an entry from the cache; one that is being made stays.
func (c Cache) remove(i item) error {
	unlock, err := c.tryLock(i)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(c.tmp(i)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.tmp(i)), 0o755); err != nil {
		return err
	}
	// Renamed first, so that an entry with its final name is always complete.
	if err := os.Rename(c.path(i), c.tmp(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(c.tmp(i))
}

// sizeOf sums the bytes of the regular files below a directory.
func sizeOf(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// hashFile returns a file's sha256 in hex, and its size.
func hashFile(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// copyFile copies a file, by a hard link if both paths are on one file system.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
