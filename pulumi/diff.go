package pulumi

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// diffLab compares the plan that a lab was made of with that of the new properties, by the rule
// that `netlab plan` has (topology.Compare). Properties that are written differently and mean the
// same plan are no difference; another content of the same file is one.
func (p *Provider) diffLab(ctx context.Context, req plugin.DiffRequest) (diff plugin.DiffResponse, err error) {
	diff.DeleteBeforeReplace = true // both have the same name, and each takes the machine
	diff.DetailedDiff = differing(req)
	v, err := read(req.NewInputs)
	if err != nil {
		return diff, err
	}
	if len(v.unknown) > 0 { // whether it can be done in place is known when they are
		diff.Changes = plugin.DiffSome
		return diff, nil
	}
	old, err := p.recorded(req)
	if err != nil {
		return diff, err
	}
	set, _, err := p.resolve(v)
	if err != nil {
		return diff, err
	}
	changes, err := p.changes(ctx, v, old, set)
	if err != nil {
		return diff, err
	}
	problems := req.OldOutputs[problemsProperty]
	ill := problems.IsArray() && len(problems.ArrayValue()) > 0
	// What was made of a property that has become a secret is one from now on, in the stack too.
	revealed := v.secret && !req.OldOutputs[planProperty].ContainsSecrets()
	if changes.None() && !ill && !revealed {
		return plugin.DiffResponse{Changes: plugin.DiffNone}, nil
	}
	diff.Changes = plugin.DiffSome
	if changes.None() { // no property means something else
		diff.DetailedDiff = map[string]plugin.PropertyDiff{}
	} else if len(diff.DetailedDiff) == 0 { // the file's content, or a default
		at := planProperty
		if v.file() != "" {
			at = fileProperty
		}
		diff.DetailedDiff[at] = plugin.PropertyDiff{Kind: plugin.DiffUpdate}
	}
	if revealed {
		diff.DetailedDiff[planProperty] = plugin.PropertyDiff{Kind: plugin.DiffUpdate}
	}
	if ill {
		diff.DetailedDiff[problemsProperty] = plugin.PropertyDiff{Kind: plugin.DiffUpdate}
		for _, problem := range problems.ArrayValue() {
			if len(changes.Restore) == 0 { // else they are among the changes
				p.progress(ctx, req.URN).Note(problem.StringValue())
			}
		}
	}
	if len(changes.Remake) > 0 {
		p.replaced(req, v, old, diff.DetailedDiff)
	}
	p.announce(ctx, req.URN, changes)
	return diff, nil
}

// changes are those of `netlab plan`, if the lab is on this machine; otherwise those of its plan.
func (p *Provider) changes(ctx context.Context, v values, old topology.Plan, set components.Set) (topology.Changes, error) {
	theirs, err := p.engine.Manifests(set, v.file())
	if err != nil {
		return topology.Changes{}, err
	}
	if old.Lab == set.Plan.Lab {
		found, err := p.engine.Changes(ctx, set.Plan, theirs)
		if err != nil {
			return topology.Changes{}, err
		}
		if found != nil {
			return *found, nil
		}
	}
	return compare(old, set.Plan), nil
}

// compare is topology.Compare, for labs of two names too.
func compare(old, is topology.Plan) topology.Changes {
	changes := topology.Compare(old, is)
	if old.Lab != is.Lab {
		return topology.Changes{Remake: append([]string{"metadata.name: " + old.Lab.String() + " → " + is.Lab.String()}, changes.Remake...)}
	}
	return changes
}

// recorded is the plan that a lab was made of: that of its own state, which knows by which version of
// netlab it was written, or without one that of the stack.
func (p *Provider) recorded(req plugin.DiffRequest) (plan topology.Plan, err error) {
	if lab, err := labs.ParseName(string(req.ID)); err == nil {
		state, err := p.engine.Root.Read(lab)
		if !errors.Is(err, fs.ErrNotExist) {
			return state.Plan, err
		}
	}
	was, err := read(resource.PropertyMap{planProperty: req.OldOutputs[planProperty]})
	if err != nil {
		return plan, err
	}
	data, err := json.Marshal(was.tree[planProperty])
	if err != nil {
		return plan, err
	}
	return plan, json.Unmarshal(data, &plan)
}

// differing are the properties that were written, changed or removed.
func differing(req plugin.DiffRequest) map[string]plugin.PropertyDiff {
	return plugin.NewDetailedDiffFromObjectDiff(req.OldInputs.Diff(req.NewInputs), true)
}

// replaced marks the properties that recreate the cluster: those whose new value alone, beside the
// old ones of all others, does. Where only several together do, it is all of them.
func (p *Provider) replaced(req plugin.DiffRequest, is values, old topology.Plan, diff map[string]plugin.PropertyDiff) {
	was, err := read(req.OldInputs)
	if err != nil {
		was = values{tree: map[string]any{}}
	}
	alone := map[string]bool{}
	for path := range diff {
		top, _, _ := strings.Cut(strings.ReplaceAll(path, "[", "."), ".")
		if _, known := alone[top]; known || path == problemsProperty {
			continue
		}
		mixed := values{tree: maps.Clone(was.tree)}
		delete(mixed.tree, top)
		if value, set := is.tree[top]; set {
			mixed.tree[top] = value
		}
		set, _, err := p.resolve(mixed)
		alone[top] = err == nil && len(compare(old, set.Plan).Remake) > 0
	}
	none := !slices.Contains(slices.Collect(maps.Values(alone)), true)
	for path, d := range diff {
		top, _, _ := strings.Cut(strings.ReplaceAll(path, "[", "."), ".")
		if path != problemsProperty && (none || alone[top]) {
			diff[path] = d.ToReplace()
		}
	}
}

// announce shows the changes as `netlab plan` prints them.
func (p *Provider) announce(ctx context.Context, of resource.URN, changes topology.Changes) {
	shown := p.progress(ctx, of)
	for _, line := range changes.Lines() {
		if len(changes.Remake) > 0 {
			shown.Warn(line)
		} else {
			shown.Note(line)
		}
	}
}
