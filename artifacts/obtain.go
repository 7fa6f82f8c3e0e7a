// Package artifacts obtains software: it takes a components.Set and makes it present in a
// cache, from the cache itself, a registry or a build, and returns references to it, which do
// not depend on where it came from. Builds are cached by a key of all their inputs. It chooses
// no versions and runs no part of a lab.
package artifacts

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/artifacts/modules"
	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/components"
)

// architecture of every image.
const architecture = runtime.GOARCH

// parallel is how many builds run at once: the Go compiler itself uses every core,
// and two keep them busy while one links.
const parallel = 2

// Cache obtains artifacts into a directory.
type Cache struct {
	Dir  string
	Self string // the running netlab executable
	// Sources may be asked for what the cache lacks; none: nothing outside this machine is
	// contacted.
	Sources []Source
	// Registries are the settings of registries.yaml.
	Registries registry.Config
	// Progress shows how far pulls are, and what is built because no registry has it; nil for
	// nobody.
	Progress Progress
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

// Progress is who is shown more than steps.
type Progress interface {
	// Changing is a components.Step that can report what it is doing now.
	Changing(name string) (done func(error), now func(what string))
	// Warn reports what may surprise the user.
	Warn(text string)
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
	pulls     *pulls
	modules   modules.Settings
	over      bool // the Nodes are of an upstream's image
	base      base // that comes out of it
}

// changing is a step that can report what it is doing now.
func (o obtaining) changing(name string) (done func(error), now func(string)) {
	if o.Progress == nil {
		return o.step(name), func(string) {}
	}
	return o.Progress.Changing(name)
}

// warn reports a text once.
func (o obtaining) warn(text string) {
	if o.Progress != nil && o.pulls.first(text) {
		o.Progress.Warn(text)
	}
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
	jobs, err := c.jobs(ctx, sets, step)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if err := j.heed(); err != nil {
			return nil, err
		}
	}
	if err := c.lacking(jobs); err != nil {
		return nil, err
	}
	if err := pullAll(ctx, jobs); err != nil {
		return nil, err
	}
	if err := toolsFor(jobs); err != nil {
		return nil, err
	}
	without, err := fill(ctx, jobs)
	if err != nil {
		return nil, err
	}
	all := make([]components.Artifacts, len(jobs))
	for i, j := range jobs {
		if all[i], err = j.artifacts(ctx, without); err != nil {
			return nil, err
		}
		if err := j.describe(&all[i], without); err != nil {
			return nil, err
		}
	}
	return all, errors.Join(usedBy(jobs), registry.Sweep(c.stage(), pullsKept), c.prune())
}

// jobs decides for each set what its Nodes are made of.
func (c Cache) jobs(ctx context.Context, sets []components.Set, step components.Step) ([]job, error) {
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
	return jobs, nil
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
	o := obtaining{Cache: c, step: step, downloads: downloads(), pulls: newPulls(c), modules: modules.FromEnvironment(os.Getenv, filepath.Join(c.Dir, inSums))}
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
	group.Go(func() error { return downloadFiles(ctx, jobs) })
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

// makeLongest makes the builds and Debian layers that the cache lacks and some sets need.
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
