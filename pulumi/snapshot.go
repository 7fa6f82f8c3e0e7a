package pulumi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// The outputs of a Snapshot, beside its inputs.
const (
	createdProperty = "created"
	bytesProperty   = "bytes"
)

// snapshot are a Snapshot's inputs. Its ID is LAB/NAME.
type snapshot struct {
	Lab  string `json:"lab"`
	Name string `json:"name"`
}

func (p *Provider) checkSnapshot(_ context.Context, v values) ([]plugin.CheckFailure, error) {
	if all := v.formed(snapshotInputs()); len(all) > 0 {
		return all, nil
	}
	var asked snapshot
	if err := v.into(&asked); err != nil {
		return nil, err
	}
	return nameFailures(asked.Lab, v), nil
}

// diffSnapshot: another lab or name is another snapshot.
func (p *Provider) diffSnapshot(_ context.Context, req plugin.DiffRequest) (diff plugin.DiffResponse, err error) {
	diff.Changes, diff.DetailedDiff = plugin.DiffNone, differing(req)
	for path, d := range diff.DetailedDiff {
		diff.Changes = plugin.DiffSome
		diff.DetailedDiff[path] = d.ToReplace()
	}
	return diff, nil
}

// createSnapshot is `netlab snapshot save`. A preview already refuses a lab whose provider has none.
func (p *Provider) createSnapshot(ctx context.Context, req plugin.CreateRequest) (made plugin.CreateResponse, err error) {
	v, err := read(req.Properties)
	if err != nil {
		return made, err
	}
	made.Properties = maps.Clone(req.Properties)
	made.Properties[createdProperty], made.Properties[bytesProperty] = unknown(), unknown()
	if req.Preview && len(v.unknown) > 0 {
		return made, nil
	}
	var asked snapshot
	if err := v.into(&asked); err != nil {
		return made, err
	}
	lab, err := labs.ParseName(asked.Lab)
	if err != nil {
		return made, err
	}
	if req.Preview {
		if there, err := p.exists(resource.ID(asked.Lab)); err != nil || !there {
			return made, err
		}
		_, err := p.engine.Snapshots(lab)
		return made, err
	}
	if err := p.engine.Save(ctx, lab, asked.Name); err != nil {
		return made, because(ctx, err)
	}
	made.ID = resource.ID(asked.Lab + "/" + asked.Name)
	saved, err := p.saved(made.ID)
	if err != nil {
		return made, err
	}
	made.Properties, err = withSaved(req.Properties, saved)
	return made, err
}

// readSnapshot finds a snapshot; one that was made by hand can be imported.
func (p *Provider) readSnapshot(_ context.Context, req plugin.ReadRequest) (found plugin.ReadResponse, err error) {
	lab, name, _ := strings.Cut(string(req.ID), "/")
	if there, err := p.exists(resource.ID(lab)); err != nil || !there {
		return found, err
	}
	saved, err := p.saved(req.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	found.ID, found.Inputs = req.ID, req.Inputs
	if len(found.Inputs) == 0 {
		found.Inputs = resource.PropertyMap{"lab": resource.NewStringProperty(lab), "name": resource.NewStringProperty(name)}
	}
	found.Outputs, err = withSaved(found.Inputs, saved)
	return found, err
}

// deleteSnapshot leaves the snapshot, which goes with its lab: no provider deletes a single one.
func (p *Provider) deleteSnapshot(ctx context.Context, req plugin.DeleteRequest) error {
	lab, name, _ := strings.Cut(string(req.ID), "/")
	if there, err := p.exists(resource.ID(lab)); err == nil && there {
		p.progress(ctx, req.URN).Note(fmt.Sprintf("snapshot %s stays until lab %s is removed", name, lab))
	}
	return nil
}

// saved is the snapshot of an ID; fs.ErrNotExist if there is none.
func (p *Provider) saved(id resource.ID) (providers.Snapshot, error) {
	of, name, _ := strings.Cut(string(id), "/")
	lab, err := labs.ParseName(of)
	if err != nil {
		return providers.Snapshot{}, hint.With(err, "the ID of a Snapshot is LAB/NAME")
	}
	all, err := p.engine.Snapshots(lab)
	if err != nil {
		return providers.Snapshot{}, err
	}
	i := slices.IndexFunc(all, func(s providers.Snapshot) bool { return s.Name == name })
	if i < 0 {
		return providers.Snapshot{}, fs.ErrNotExist
	}
	return all[i], nil
}

func withSaved(inputs resource.PropertyMap, s providers.Snapshot) (resource.PropertyMap, error) {
	out := maps.Clone(inputs)
	var err error
	if out[createdProperty], err = property(s.Created); err != nil {
		return nil, err
	}
	out[bytesProperty] = resource.NewNumberProperty(float64(s.Bytes))
	return out, nil
}

// exists reports whether there is a lab of a name on this machine.
func (p *Provider) exists(id resource.ID) (bool, error) {
	lab, err := labs.ParseName(string(id))
	if err != nil {
		return false, err
	}
	_, err = p.engine.Root.Read(lab)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
