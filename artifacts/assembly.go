package artifacts

import (
	"context"
	"os"
	"path/filepath"

	"netlab.dev/netlab/components"
)

// assembly collects the artifacts of a set.
type assembly struct {
	job
	components.Artifacts
	// Each tier of the store is a clone of the one before with images added: labs share what
	// every lab has, and a new netlab executable costs a second.
	common, selected, own []picture
	with                  importer // of images into the store
	store                 string   // the tier that the next one is a clone of
}

// artifacts assembles images, unpacks the node image and fills the store. lacking has the
// images that are left out.
func (j job) artifacts(ctx context.Context, lacking map[string]string) (components.Artifacts, error) {
	a := &assembly{job: j, Artifacts: components.Artifacts{Layouts: map[string]string{}, Copies: map[string]string{}, Programs: map[string]string{},
		Self: j.selfPath, Caches: map[string]string{}, Lacking: map[string]string{}}}
	for _, k := range j.parts {
		if err := a.add(ctx, k, lacking); err != nil {
			return components.Artifacts{}, err
		}
	}
	for _, tier := range [][]picture{a.common, a.selected, a.own} {
		if len(tier) == 0 {
			continue
		}
		var err error
		if a.store, err = a.fillStore(ctx, a.with, tier, a.store); err != nil {
			return components.Artifacts{}, err
		}
	}
	a.Store = filepath.Join(a.store, "root")
	for _, k := range j.parts {
		if k.Kind != components.KindMachine {
			continue
		}
		var err error
		if a.Disk, err = a.disk(ctx, k, a.Artifacts); err != nil {
			return components.Artifacts{}, err
		}
	}
	for ref, why := range j.refused {
		a.Lacking[ref] = why
	}
	var err error
	if a.Hosts, err = a.hosts(ctx); err != nil {
		return components.Artifacts{}, err
	}
	a.Disk.Image, err = j.cloudImage(ctx, j.set.Plan)
	return a.Artifacts, err
}

// add adds the artifacts of one component.
func (a *assembly) add(ctx context.Context, k components.Component, lacking map[string]string) error {
	for _, i := range k.Images {
		p := a.picture(k, i)
		if why := lacking[p.ref]; why != "" {
			a.Lacking[p.ref] = why
			continue
		}
		if err := a.addImage(ctx, p); err != nil {
			return err
		}
	}
	for name, path := range k.Caches {
		a.Caches[path] = filepath.Join(a.Dir, inCaches, k.Name+"-"+name)
		if err := os.MkdirAll(a.Caches[path], 0o755); err != nil {
			return err
		}
	}
	for _, name := range k.Programs {
		m, err := a.output(k.Name + "/" + name)
		if err != nil {
			return err
		}
		dir, err := a.build(ctx, m)
		if err != nil {
			return err
		}
		a.Programs[name] = filepath.Join(dir, "bin", name)
	}
	for _, ref := range k.Copies() {
		of, b, rest, err := a.set.Copied(ref)
		if err != nil {
			return err
		}
		dir, err := a.files(ctx, made{of, b})
		if err != nil {
			return err
		}
		a.Copies[ref] = filepath.Join(dir, "files", rest)
	}
	return nil
}

func (a *assembly) addImage(ctx context.Context, p picture) error {
	dir, err := a.image(ctx, p)
	if err != nil {
		return err
	}
	switch {
	case p.Over != nil:
		a.with, a.store, err = a.overUpstream(ctx, p, dir, &a.Artifacts)
		return err
	case p.Node:
		if a.Rootfs, err = a.lowers(ctx, dir); err != nil {
			return err
		}
		a.Node, err = nodeImage(p.Name, dir)
		return err
	case p.self():
		a.own = append(a.own, p)
		a.Agent = p.ref
	case p.of.InEveryLab():
		a.common = append(a.common, p)
	default:
		a.selected = append(a.selected, p)
	}
	a.Images = append(a.Images, p.ref)
	a.Layouts[p.ref] = dir
	return nil
}
