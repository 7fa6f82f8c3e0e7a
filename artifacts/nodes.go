package artifacts

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/regular"
)

// What a lab's Nodes have from the cache is read-only in them: root in a Node may write wherever
// it can, and every later lab is made of the cache.

// ImagesInside is where a Node sees the images that its containerd root leads to, read-only.
const ImagesInside = "/var/lib/netlab/images"

// linked are the directories of a containerd root whose entries never change once they are there.
var linked = []string{"io.containerd.content.v1.content/blobs/sha256", "io.containerd.snapshotter.v1.overlayfs/snapshots"}

// LabImages returns the directory of a store's images in a lab's state directory, and makes it if
// it is not there. It has hard links, so a lab does not depend on the cache and costs no disk. Its
// Nodes mount it read-only at ImagesInside.
func LabImages(ctx context.Context, store, dir string) (string, error) {
	images := filepath.Join(dir, "images", filepath.Base(filepath.Dir(store)))
	if _, err := os.Stat(images); err == nil {
		return images, nil
	}
	next := images + ".new"
	if err := errors.Join(os.RemoveAll(next), os.MkdirAll(filepath.Dir(next), 0o711)); err != nil {
		return "", err
	}
	if err := Clone(ctx, store, next); err != nil {
		return "", err
	}
	return images, os.Rename(next, images)
}

// NodeRoot makes a Node's containerd root of a lab's images. The Node's own are the databases and
// what it adds; blobs and snapshots are links to ImagesInside.
func NodeRoot(images, root string) error {
	return filepath.WalkDir(images, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(images, p)
		if err != nil {
			return err
		}
		target := filepath.Join(root, rel)
		switch {
		case slices.Contains(linked, filepath.ToSlash(filepath.Dir(rel))):
			if err := os.Symlink(path.Join(ImagesInside, rel), target); err != nil || !d.IsDir() {
				return err
			}
			return fs.SkipDir
		case d.IsDir():
			return likeDir(p, target)
		default:
			return copyTree(p, target)
		}
	})
}

// NodeCache is a directory of this machine that a Node sees at a path.
type NodeCache struct {
	Source, Target string
	ReadOnly       bool
}

// sharedCache is the directory in a component's cache that has what earlier labs computed.
const sharedCache = "shared"

// NodeCaches are the directories of the caches of a lab's components (components.Artifacts.Caches):
// each is the lab's own, which its Nodes write to, with that of all labs in it, which they do not.
// A directory comes before those in it.
func NodeCaches(caches map[string]string, dir string) ([]NodeCache, error) {
	var all []NodeCache
	for _, target := range slices.Sorted(maps.Keys(caches)) {
		shared := caches[target]
		own := labCache(dir, shared)
		if err := os.MkdirAll(filepath.Join(own, sharedCache), 0o755); err != nil {
			return nil, err
		}
		all = append(all, NodeCache{own, target, false})
		if _, err := os.Stat(shared); err == nil {
			all = append(all, NodeCache{shared, path.Join(target, sharedCache), true})
		}
	}
	return all, nil
}

func labCache(dir, shared string) string { return filepath.Join(dir, "caches", filepath.Base(shared)) }

const (
	largestEntry = 64 << 20
	keptEntries  = 30 * 24 * time.Hour // of components' caches, since they were last used
)

// Learn adds what the Nodes of a lab computed to the caches of all labs, and removes what no lab
// used for a month. It is called for a new lab, before anything of the user's runs in it: later a
// Node's files are whatever its Pods made of them. An entry that all labs have stays as it is. Names
// that begin with a dot are not entries.
func Learn(caches map[string]string, dir string) error {
	var problems []error
	for _, shared := range caches {
		problems = append(problems, learn(labCache(dir, shared), shared), forget(shared))
	}
	return errors.Join(problems...)
}

func learn(own, shared string) error {
	root, err := os.OpenRoot(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the provider's Nodes have none: they have disks of their own
	}
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		to := filepath.Join(shared, e.Name())
		if os.Chtimes(to, now, now) == nil { // it is there: now it was used
			continue
		}
		data, err := regular.Read(root, e.Name(), largestEntry)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func forget(shared string) error {
	entries, err := os.ReadDir(shared)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keptEntries {
			if err := os.RemoveAll(filepath.Join(shared, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
