// Package artifacts obtains software: it takes a components.Set and makes it present in a
// cache, from the cache itself, a registry or a build, and returns references to it, which do
// not depend on where it came from. Builds are cached by a key of all their inputs. It chooses
// no versions and runs no part of a lab.
package artifacts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/components"
)

// architecture of every image.
const architecture = runtime.GOARCH

// parallel is how many builds run at once: the Go compiler itself uses every core,
// and two keep them busy while one links.
const parallel = 2

// Cache obtains artifacts into a directory.
type Cache struct {
	Dir     string
	Self    string // the running netlab executable
	Offline bool   // registries are not contacted
	// NodeImage is the repository that an Upstream is pulled from instead of its own, such as
	// a mirror; "" for none.
	NodeImage string
	// Before are the Artifacts of a running lab, the zero value for a new one: its Nodes keep
	// the images that they were created with, so optional ones are obtained again or left out
	// as before.
	Before components.Artifacts
	// KernelHas reports whether the kernel under the Nodes offers a feature, by its option
	// and its module; nil: it offers all.
	KernelHas func(option, module string) bool
}

// obtaining is one call of Obtain, for one set.
type obtaining struct {
	Cache
	step     components.Step
	set      components.Set // what components refer to each other in
	selfHash string
	selfPath string
	// downloads are the limits of downloads.
	downloads download
}

// job is the work for the set of one lab.
type job struct {
	obtaining
	parts   []components.Component // those that are made: without what an upstream's node image holds
	refused map[string]string      // by reference, why an upstream's image is not used
}

// Obtain makes what a set requires present in the cache and returns references to it. It makes
// only what the cache lacks, with a step of progress for each entry; with everything cached it
// takes well under a second. It may run in several processes at once.
func (c Cache) Obtain(ctx context.Context, set components.Set, step components.Step) (components.Artifacts, error) {
	all, err := c.ObtainAll(ctx, []components.Set{set}, step)
	if err != nil {
		return components.Artifacts{}, err
	}
	return all[0], nil
}

// ObtainAll is Obtain for several sets, whose builds run together, the longest first. It
// returns the Artifacts of each set.
func (c Cache) ObtainAll(ctx context.Context, sets []components.Set, step components.Step) ([]components.Artifacts, error) {
	if err := c.sweep(); err != nil {
		return nil, err
	}
	o, err := c.obtaining(ctx, step)
	if err != nil {
		return nil, err
	}
	jobs := make([]job, len(sets))
	asked := map[string]answer{}
	for i, set := range sets {
		o.set = set
		if jobs[i], err = o.settle(ctx, asked); err != nil {
			return nil, err
		}
	}
	lacking, err := fill(ctx, jobs)
	if err != nil {
		return nil, err
	}
	all := make([]components.Artifacts, len(jobs))
	for i, j := range jobs {
		if all[i], err = j.artifacts(ctx, lacking); err != nil {
			return nil, err
		}
	}
	return all, c.prune()
}

// Agent returns the reference of the verification agent's image that is built from Self.
func (c Cache) Agent(catalog components.Catalog) (string, error) {
	o := obtaining{Cache: c}
	var err error
	if o.selfHash, _, err = hashFile(c.Self); err != nil {
		return "", err
	}
	parts, _ := catalog.Sets()
	for _, k := range parts {
		for _, i := range k.Images {
			if p := o.picture(k, i); p.self() {
				return p.ref, nil
			}
		}
	}
	return "", errors.New("verification agent's image not found in the catalog")
}

func (c Cache) obtaining(ctx context.Context, step components.Step) (obtaining, error) {
	o := obtaining{Cache: c, step: step, downloads: downloads()}
	var err error
	if o.selfHash, _, err = hashFile(c.Self); err != nil {
		return obtaining{}, err
	}
	dir, err := o.keep(ctx, item{inSelf, "netlab", o.selfHash[:16]}, func(dir string, rec *record) error {
		rec.Self = o.selfHash
		return copyExecutable(c.Self, filepath.Join(dir, "netlab"))
	})
	if err != nil {
		return obtaining{}, err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil { // used now: see prune
		return obtaining{}, err
	}
	o.selfPath = filepath.Join(dir, "netlab")
	return o, nil
}

// fill builds, pulls and downloads what the images of some sets are made of and what their
// machines boot, and returns by reference why an optional image was not obtained.
func fill(ctx context.Context, jobs []job) (lacking map[string]string, err error) {
	lacking = map[string]string{}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, j := range jobs { // one after another: they share the way here
			if _, err := j.cloudImage(ctx, j.set.Plan); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return makeLongest(ctx, jobs) })
	group.Go(func() error {
		for _, j := range jobs {
			lacks, err := j.pull(ctx, j.parts)
			if err != nil {
				return err
			}
			maps.Copy(lacking, lacks)
		}
		return nil
	})
	err = group.Wait()
	return lacking, err
}

// work is a pending build or Debian layer.
type work struct {
	item
	seconds int
	do      func(context.Context) error
}

// makeLongest makes the builds and Debian layers that some sets need.
func makeLongest(ctx context.Context, jobs []job) error {
	all, err := worksOf(jobs)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, w := range all {
		group.Go(func() error { return w.do(ctx) })
	}
	return group.Wait()
}

// worksOf lists the builds and layers that some sets require, each once, the longest first, so
// that a short one finishes last.
func worksOf(jobs []job) ([]work, error) {
	var all []work
	seen := map[item]bool{}
	for _, j := range jobs {
		works, err := j.works()
		if err != nil {
			return nil, err
		}
		for _, w := range works {
			if !seen[w.item] {
				all = append(all, w)
			}
			seen[w.item] = true
		}
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(b.seconds, a.seconds) })
	return all, nil
}

// works lists a set's builds and Debian layers. A layer that is installed over another one
// comes right after it.
func (j job) works() ([]work, error) {
	var all []work
	over := map[string][]string{}
	for _, k := range j.parts {
		for _, l := range k.Layers {
			if l.Debian != nil && l.Debian.Over != "" {
				over[l.Debian.Over] = append(over[l.Debian.Over], k.Name+"/"+l.Name)
			}
		}
	}
	for _, k := range j.parts {
		for _, b := range k.Builds {
			m := made{k, b}
			i, err := m.item()
			if err != nil {
				return nil, err
			}
			all = append(all, work{i, b.Seconds, func(ctx context.Context) error {
				_, err := j.build(ctx, m)
				return err
			}})
		}
		for _, l := range k.Layers {
			ref := k.Name + "/" + l.Name
			i, err := j.layerItem(ref)
			if err != nil {
				return nil, err
			}
			if l.Debian == nil || l.Debian.Over != "" {
				continue
			}
			all = append(all, work{i, l.Seconds, func(ctx context.Context) error {
				for _, ref := range append([]string{ref}, over[ref]...) {
					if _, err := j.layer(ctx, ref); err != nil {
						return err
					}
				}
				return nil
			}})
		}
	}
	return all, nil
}

func (o obtaining) log(i item) string {
	return filepath.Join(o.Dir, inLogs, i.kind+"-"+i.String()+".log")
}

func readRecord(dir string) (record, error) {
	var rec record
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(data, &rec)
}

func copyExecutable(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, 0o755), os.Chmod(to, 0o755))
}
