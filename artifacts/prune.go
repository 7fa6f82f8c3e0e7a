package artifacts

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// justUsed is for how long an entry stays whatever is asked: a lab that is being created uses it
// before its state says so.
const justUsed = 10 * time.Minute

// Entry is an entry of the cache that nothing needs.
type Entry struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"` // hard links of a lab keep theirs
	Used  time.Time `json:"lastUsed"`
}

// prunable are the kinds of entries that are made again when they are needed. The digests that tags
// had are not: they say which images a lab trusts.
var prunable = []string{inBuilds, inModules, inLayers, inImages, inRootfs, inStores, inSelf, inDisks, inClouds}

// Prune removes what has not been used for a time and what no lab needs, by its path; with dry it
// only lists it. It returns the largest first.
func (c Cache) Prune(unused time.Duration, needed func(path string) bool, dry bool) ([]Entry, error) {
	before := time.Now().Add(-max(unused, justUsed))
	var all []Entry
	var problems []error
	if !dry {
		problems = append(problems, c.sweep())
	}
	for _, kind := range prunable {
		entries, err := c.unused(kind, before)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(c.Dir, e.Kind, e.Name)
			if needed(path) {
				continue
			}
			if !dry {
				cut := strings.LastIndex(e.Name, "-")
				err := c.remove(item{e.Kind, e.Name[:cut], e.Name[cut+1:]})
				if _, there := os.Lstat(path); there == nil { // it cannot be removed, or is made right now
					problems = append(problems, err)
					continue
				}
			}
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(b.Bytes, a.Bytes) })
	if !dry {
		problems = append(problems, c.pruneFiles(before))
	}
	return all, errors.Join(problems...)
}

// unused lists the entries of a kind that were last used before a time.
func (c Cache) unused(kind string, before time.Time) ([]Entry, error) {
	dirs, err := os.ReadDir(filepath.Join(c.Dir, kind))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Entry
	for _, d := range dirs {
		info, err := d.Info()
		cut := strings.LastIndex(d.Name(), "-")
		if err != nil || cut < 0 || !info.ModTime().Before(before) {
			continue
		}
		rec, _ := c.have(item{kind, d.Name()[:cut], d.Name()[cut+1:]})
		all = append(all, Entry{kind, d.Name(), rec.Bytes, info.ModTime()})
	}
	return all, nil
}

// pruneFiles removes logs of builds, and files of components' caches, that are as old.
func (c Cache) pruneFiles(before time.Time) error {
	var problems []error
	for _, pattern := range []string{filepath.Join(inLogs, "*"), filepath.Join(inCaches, "*", "*")} {
		files, err := filepath.Glob(filepath.Join(c.Dir, pattern))
		problems = append(problems, err)
		for _, f := range files {
			if info, err := os.Lstat(f); err == nil && info.ModTime().Before(before) {
				problems = append(problems, os.RemoveAll(f))
			}
		}
	}
	return errors.Join(problems...)
}

// used notes that an entry was used now; a note a few minutes is enough.
func (c Cache) used(i item) {
	now := time.Now()
	if info, err := os.Stat(c.path(i)); err == nil && now.Sub(info.ModTime()) > justUsed/2 {
		_ = os.Chtimes(c.path(i), now, now) // on a read-only disk nothing is pruned either
	}
}

// usedBy notes that what the sets of jobs are made of was used, even where it was not looked at
// because what is made of it is there.
func usedBy(jobs []job) error {
	for _, j := range jobs {
		all, err := j.ingredients()
		if err != nil {
			return err
		}
		for _, i := range all {
			j.used(i.item)
			for _, m := range i.of.builds {
				if of, err := m.item(); err == nil {
					j.used(of)
				}
			}
			for _, ref := range i.of.layers {
				if of, err := j.layerItem(ref); err == nil {
					j.used(of)
				}
			}
		}
	}
	return nil
}
