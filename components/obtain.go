package components

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

	"netlab.dev/netlab/topology"
)

// architecture of every image.
const architecture = runtime.GOARCH

// parallel is how many builds run at once: the Go compiler itself uses every core,
// and two keep them busy while one links.
const parallel = 2

// obtaining is one call of Obtain.
type obtaining struct {
	Resolver
	step     Step
	sources  []source
	selfHash string
	selfPath string
	// downloads is how files are had from URLs.
	downloads download
}

// Obtain makes what a plan needs present in the cache and gives it. It makes only
// what the cache lacks, with a step of progress for each thing made; with everything
// there it takes well under a second. It may run in several processes at once.
func (r Resolver) Obtain(ctx context.Context, p topology.Plan, step Step) (Artifacts, error) {
	all, err := r.ObtainAll(ctx, []topology.Plan{p}, step)
	if err != nil {
		return Artifacts{}, err
	}
	return all[0], nil
}

// ObtainAll is Obtain for several plans, whose builds are made together: the longest of
// them all first. It gives the Artifacts of each plan.
func (r Resolver) ObtainAll(ctx context.Context, plans []topology.Plan, step Step) ([]Artifacts, error) {
	sets := make([][]Component, len(plans))
	for i, p := range plans {
		var err error
		if sets[i], err = r.Catalog.Resolve(p); err != nil {
			return nil, err
		}
	}
	if err := r.sweep(); err != nil {
		return nil, err
	}
	o, err := r.obtaining(ctx, step)
	if err != nil {
		return nil, err
	}
	refused, err := o.settle(ctx, plans, sets)
	if err != nil {
		return nil, err
	}
	lacking, err := o.fill(ctx, union(sets), plans)
	if err != nil {
		return nil, err
	}
	all := make([]Artifacts, len(sets))
	for i, set := range sets {
		if all[i], err = o.artifacts(ctx, set, lacking); err != nil {
			return nil, err
		}
		maps.Copy(all[i].Lacking, refused[i])
		if all[i].Disk.Image, err = o.cloudImage(ctx, plans[i]); err != nil {
			return nil, err
		}
	}
	return all, r.prune()
}

// union has every component of some sets once.
func union(sets [][]Component) []Component {
	var all []Component
	for _, k := range slices.Concat(sets...) {
		if !slices.ContainsFunc(all, func(other Component) bool { return other.Name == k.Name }) {
			all = append(all, k)
		}
	}
	return all
}

// Agent is the reference of the verification agent's image that is made of Self.
func (r Resolver) Agent() (string, error) {
	o := obtaining{Resolver: r}
	var err error
	if o.selfHash, _, err = hashFile(r.Self); err != nil {
		return "", err
	}
	for _, name := range r.Catalog.names() {
		for _, i := range r.Catalog[name].Images {
			if p := o.picture(r.Catalog[name], i); p.self() {
				return p.ref, nil
			}
		}
	}
	return "", errors.New("no component has the verification agent's image")
}

func (r Resolver) obtaining(ctx context.Context, step Step) (obtaining, error) {
	o := obtaining{Resolver: r, step: step, downloads: downloads()}
	var err error
	if o.selfHash, _, err = hashFile(r.Self); err != nil {
		return obtaining{}, err
	}
	dir, err := o.keep(ctx, item{inSelf, "netlab", o.selfHash[:16]}, func(dir string, rec *record) error {
		rec.Self = o.selfHash
		return copyExecutable(r.Self, filepath.Join(dir, "netlab"))
	})
	if err != nil {
		return obtaining{}, err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil { // used now: see prune
		return obtaining{}, err
	}
	o.selfPath = filepath.Join(dir, "netlab")
	o.sources = []source{puller{o}, builder{o}}
	return o, nil
}

// fill makes, pulls and downloads what the images of a set are made of and what the
// machines of its plans boot, and tells by reference why an optional one is not to be had.
func (o obtaining) fill(ctx context.Context, set []Component, plans []topology.Plan) (lacking map[string]string, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, p := range plans { // one after another: they share the way here
			if _, err := o.cloudImage(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return o.makeLongest(ctx, set) })
	group.Go(func() (err error) {
		lacking, err = o.pull(ctx, set)
		return err
	})
	err = group.Wait()
	return lacking, err
}

// makeLongest makes the builds and Debian layers that a set needs, the longest first,
// so that the last to end is a short one.
func (o obtaining) makeLongest(ctx context.Context, set []Component) error {
	type work struct {
		seconds int
		do      func(context.Context) error
	}
	var all []work
	// over[x] are the layers installed into x: they come right after it.
	over := map[string][]string{}
	for _, k := range set {
		for _, l := range k.Layers {
			if l.Debian != nil && l.Debian.Over != "" {
				over[l.Debian.Over] = append(over[l.Debian.Over], k.Name+"/"+l.Name)
			}
		}
	}
	for _, k := range set {
		for _, b := range k.Builds {
			all = append(all, work{b.Seconds, func(ctx context.Context) error {
				_, err := o.build(ctx, made{k, b})
				return err
			}})
		}
		for _, l := range k.Layers {
			if l.Debian == nil || l.Debian.Over != "" {
				continue
			}
			ref := k.Name + "/" + l.Name
			all = append(all, work{l.Seconds, func(ctx context.Context) error {
				for _, ref := range append([]string{ref}, over[ref]...) {
					if _, err := o.layer(ctx, ref); err != nil {
						return err
					}
				}
				return nil
			}})
		}
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(b.seconds, a.seconds) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, w := range all {
		group.Go(func() error { return w.do(ctx) })
	}
	return group.Wait()
}

// artifacts assembles images, unpacks the node image and fills the store. lacking has the
// images that are left out.
func (o obtaining) artifacts(ctx context.Context, set []Component, lacking map[string]string) (Artifacts, error) {
	artifacts := Artifacts{Layouts: map[string]string{}, Programs: map[string]string{}, Self: o.selfPath, Caches: map[string]string{}, Lacking: map[string]string{}}
	// Each tier of the store is a clone of the one before with images added: labs share
	// what every lab has, and a new netlab executable costs a second.
	var common, selected, own []picture
	var with importer
	store := ""
	for _, k := range set {
		for _, i := range k.Images {
			p := o.picture(k, i)
			if why := lacking[p.ref]; why != "" {
				artifacts.Lacking[p.ref] = why
				continue
			}
			dir, err := o.image(ctx, p)
			if err != nil {
				return Artifacts{}, err
			}
			switch {
			case p.Over != nil:
				if with, store, err = o.overUpstream(ctx, p, dir, &artifacts); err != nil {
					return Artifacts{}, err
				}
				continue
			case p.Node:
				if artifacts.Rootfs, err = o.lowers(ctx, dir); err != nil {
					return Artifacts{}, err
				}
				if artifacts.Node, err = nodeImage(p.Name, dir); err != nil {
					return Artifacts{}, err
				}
				continue
			case p.self():
				own = append(own, p)
				artifacts.Agent = p.ref
			case k.Kind == KindBase:
				common = append(common, p)
			default:
				selected = append(selected, p)
			}
			artifacts.Images = append(artifacts.Images, p.ref)
			artifacts.Layouts[p.ref] = dir
		}
		for name, path := range k.Caches {
			artifacts.Caches[path] = filepath.Join(o.Cache, inCaches, k.Name+"-"+name)
			if err := os.MkdirAll(artifacts.Caches[path], 0o755); err != nil {
				return Artifacts{}, err
			}
		}
		for _, name := range k.Programs {
			m, err := o.Catalog.output(k.Name + "/" + name)
			if err != nil {
				return Artifacts{}, err
			}
			dir, err := o.build(ctx, m)
			if err != nil {
				return Artifacts{}, err
			}
			artifacts.Programs[name] = filepath.Join(dir, "bin", name)
		}
	}
	for _, tier := range [][]picture{common, selected, own} {
		if len(tier) == 0 {
			continue
		}
		var err error
		if store, err = o.store(ctx, with, tier, store); err != nil {
			return Artifacts{}, err
		}
	}
	artifacts.Store = filepath.Join(store, "root")
	for _, k := range set {
		var err error
		switch k.Kind {
		case KindMachine:
			artifacts.Disk, err = o.disk(ctx, k, artifacts)
		case KindHost:
			artifacts.HAProxy, err = o.unpacked(ctx, k.Name+"/haproxy")
		}
		if err != nil {
			return Artifacts{}, err
		}
	}
	return artifacts, nil
}

func (o obtaining) log(i item) string {
	return filepath.Join(o.Cache, inLogs, i.kind+"-"+i.String()+".log")
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
