package pulumi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// fileProperty is the path of a lab file, in place of the fields of one.
const fileProperty = "file"

// absolute makes the paths in manifests absolute. In a file they are relative to its directory; those of
// properties are relative to where the program runs.
func absolute(manifests []any, dir string) ([]any, error) {
	at := func(path string) (string, error) {
		if filepath.IsAbs(path) {
			return path, nil
		}
		return filepath.Abs(filepath.Join(dir, path))
	}
	out := slices.Clone(manifests)
	for i, m := range manifests {
		switch m := m.(type) {
		case string:
			path, err := at(m)
			if err != nil {
				return nil, err
			}
			out[i] = path
		case map[string]any:
			entry := maps.Clone(m)
			for _, key := range []string{"path", "chart", "values"} {
				text, is := entry[key].(string)
				if !is || strings.Contains(text, "\n") { // values may be a block of text
					continue
				}
				path, err := at(text)
				if err != nil {
					return nil, err
				}
				entry[key] = path
			}
			out[i] = entry
		}
	}
	return out, nil
}

// text is the lab file that a Lab's properties are. JSON is YAML in which no string can be taken for
// something else.
func (v values) text() ([]byte, error) {
	file := maps.Clone(v.tree)
	for key, value := range map[string]any{"apiVersion": labs.APIVersion, "kind": labs.Kind} {
		if _, given := file[key]; !given {
			file[key] = value
		}
	}
	if list, is := file["manifests"].([]any); is {
		var err error
		if file["manifests"], err = absolute(list, "."); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(file, "", "  ")
}

// file returns the path of the lab file that the properties name, "" if they are the fields of one.
func (v values) file() string {
	path, _ := v.tree[fileProperty].(string)
	return path
}

// resolve is Resolve of internal/engine for a Lab's properties.
func (p *Provider) resolve(v values) (components.Set, labs.Problems, error) {
	if file := v.file(); file != "" {
		return p.engine.Resolve(file)
	}
	text, err := v.text()
	if err != nil {
		return components.Set{}, nil, err
	}
	return p.engine.Inline(text)
}

// checkLab returns the loader's problems, each on its property.
func (p *Provider) checkLab(_ context.Context, v values) ([]plugin.CheckFailure, error) {
	if among(fileProperty, v.unknown) {
		return nil, nil
	}
	if given, has := v.tree[fileProperty]; has {
		if path, text := given.(string); !text || path == "" {
			return []plugin.CheckFailure{{Property: fileProperty, Reason: "is not the path of a lab file"}}, nil
		}
		var failures []plugin.CheckFailure
		for _, other := range slices.Sorted(maps.Keys(v.tree)) {
			if other != fileProperty {
				failures = append(failures, plugin.CheckFailure{Property: resource.PropertyKey(other), Reason: "is set beside file; remove one of them: the file has all fields"})
			}
		}
		if len(failures) > 0 {
			return failures, nil
		}
	}
	if len(v.unknown) > 0 {
		return p.checkForm(v)
	}
	set, _, err := p.resolve(v)
	if err == nil {
		_, err = p.engine.Manifests(set, v.file())
	}
	var problems labs.Problems
	switch {
	case errors.As(err, &problems):
		return failures(problems, v.file() != ""), nil
	case err != nil && v.file() != "":
		return []plugin.CheckFailure{{Property: fileProperty, Reason: lines(err)[0]}}, nil
	}
	return nil, err
}

// checkForm checks properties of which some are not known yet: what is missing may be among them.
func (p *Provider) checkForm(v values) ([]plugin.CheckFailure, error) {
	text, err := v.text()
	if err != nil {
		return nil, err
	}
	problems := slices.DeleteFunc(labs.Form(text, p.engine.Known()), func(problem labs.Problem) bool {
		return among(problem.Field, v.unknown)
	})
	return failures(problems, false), nil
}

// failures are problems of properties, or of the file that one property names.
func failures(problems labs.Problems, inFile bool) (all []plugin.CheckFailure) {
	for _, problem := range problems {
		if inFile {
			all = append(all, plugin.CheckFailure{Property: fileProperty, Reason: problem.Error()})
			continue
		}
		reason := labs.Problem{What: problem.What, Hint: problem.Hint}.Error()
		all = append(all, plugin.CheckFailure{Property: resource.PropertyKey(problem.Field), Reason: reason})
	}
	return all
}

// createLab is `netlab up` of a lab that does not exist yet. Its paths are verified by a
// Verification.
func (p *Provider) createLab(ctx context.Context, req plugin.CreateRequest) (made plugin.CreateResponse, err error) {
	v, err := read(req.Properties)
	if err != nil {
		return made, err
	}
	if req.Preview {
		made.Properties, err = p.planned(v, req.Properties, nil)
		return made, err
	}
	lab, outputs, err := p.up(ctx, v, req.Properties, req.URN, engine.UpOptions{New: true})
	return plugin.CreateResponse{ID: resource.ID(lab), Properties: outputs}, err
}

// updateLab is `netlab up`. The user has seen in the preview what it removes; what would recreate
// the cluster is a replacement, and refused here.
func (p *Provider) updateLab(ctx context.Context, req plugin.UpdateRequest) (made plugin.UpdateResponse, err error) {
	v, err := read(req.NewInputs)
	if err != nil {
		return made, err
	}
	if req.Preview {
		made.Properties, err = p.planned(v, req.NewInputs, req.OldOutputs)
		return made, err
	}
	_, made.Properties, err = p.up(ctx, v, req.NewInputs, req.URN, engine.UpOptions{
		Agree: func(changes topology.Changes) bool { return len(changes.Remake) == 0 },
	})
	return made, err
}

// up makes the properties of a lab true. If that ends halfway, the error has what there is by then.
func (p *Provider) up(ctx context.Context, v values, inputs resource.PropertyMap, of resource.URN, o engine.UpOptions) (string, resource.PropertyMap, error) {
	set, notes, err := p.resolve(v)
	if err != nil {
		return "", nil, err
	}
	shown := p.progress(ctx, of)
	for _, note := range notes {
		shown.Warn(note.Error())
	}
	lab := set.Plan.Lab
	if o.New {
		if was, err := p.engine.Root.Read(lab); err == nil {
			return "", nil, &engine.ExistsError{Lab: lab, File: was.File}
		}
	}
	if o.File, err = p.keep(lab, v); err != nil {
		return "", nil, err
	}
	result, err := p.engine.Up(ctx, set, o, shown)
	if result.Merge != nil {
		shown.Warn(result.Merge.Error())
	}
	if err != nil {
		err = because(ctx, err)
		state, unmade := p.engine.State(lab)
		if unmade != nil || untouched(err) {
			return "", nil, err
		}
		outputs, unread := p.outputs(context.WithoutCancel(ctx), state, inputs, v.secret)
		if unread != nil {
			return "", nil, errors.Join(err, unread)
		}
		return "", nil, p.incomplete(resource.ID(lab.Label()), inputs, outputs, lines(err))
	}
	state, err := p.engine.State(lab)
	if err != nil {
		return "", nil, err
	}
	outputs, err := p.outputs(ctx, state, inputs, v.secret)
	return lab.Label(), outputs, err
}

// untouched reports whether an operation ended before it changed anything: the lab, if there is one,
// belongs to somebody else, or is in use.
func untouched(err error) bool {
	var exists *engine.ExistsError
	var busy *providers.BusyError
	return errors.As(err, &exists) || errors.As(err, &busy)
}

// keep returns the lab file of properties, for `netlab up` by hand too: their own, or one that is
// written for them.
func (p *Provider) keep(lab labs.Name, v values) (string, error) {
	if file := v.file(); file != "" {
		return file, nil
	}
	text, err := v.text()
	if err != nil {
		return "", err
	}
	path := p.kept(lab)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, atomicfile.Write(path, append(text, '\n'), 0o600)
}

// kept is where the lab file of a lab is that is made of properties.
func (p *Provider) kept(lab labs.Name) string {
	return filepath.Join(p.engine.Software.Dir, "pulumi", lab.Label()+".yaml")
}

// deleteLab is `netlab down`.
func (p *Provider) deleteLab(ctx context.Context, req plugin.DeleteRequest) error {
	lab, err := labs.ParseName(string(req.ID))
	if err != nil {
		return err
	}
	done := p.progress(ctx, req.URN).Step("remove lab " + lab.String())
	result, err := p.engine.Down(ctx, lab)
	done(err)
	for _, file := range result.Unmerged {
		p.progress(ctx, req.URN).Note("removed from " + file)
	}
	if err != nil {
		return because(ctx, err)
	}
	if err := os.Remove(p.kept(lab)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// readLab finds a lab as it is now. Without properties it is being imported: they are those of the
// file that it was made from.
func (p *Provider) readLab(ctx context.Context, req plugin.ReadRequest) (found plugin.ReadResponse, err error) {
	lab, err := labs.ParseName(string(req.ID))
	if err != nil {
		return found, err
	}
	if _, err := p.engine.Root.Read(lab); errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	state, err := p.engine.State(lab)
	if err != nil {
		return found, err
	}
	inputs := req.Inputs
	if len(inputs) == 0 {
		if inputs, err = imported(state); err != nil {
			return found, err
		}
	}
	v, err := read(inputs)
	if err != nil {
		return found, err
	}
	outputs, err := p.outputs(ctx, state, inputs, v.secret)
	if err != nil {
		return found, err
	}
	problems, err := p.problems(ctx, state)
	if err != nil {
		return found, err
	}
	for _, problem := range problems {
		p.progress(ctx, req.URN).Warn(problem)
	}
	if outputs[problemsProperty], err = property(problems); err != nil {
		return found, err
	}
	found.ID, found.Inputs, found.Outputs = req.ID, inputs, outputs
	return found, nil
}

// imported are the properties of a lab that `netlab up` made.
func imported(state providers.State) (resource.PropertyMap, error) {
	tree, err := fields(state.File)
	if err != nil {
		return nil, hint.With(fmt.Errorf("lab %s was made from a file that cannot be read now: %w", state.Plan.Lab, err), "an import takes its properties from there; restore the file")
	}
	inputs, err := property(tree)
	if err != nil || !inputs.IsObject() {
		return nil, err
	}
	return inputs.ObjectValue(), nil
}

// problems are how a lab differs from what was made of its file.
func (p *Provider) problems(ctx context.Context, state providers.State) ([]string, error) {
	changes, err := p.engine.Changes(ctx, state.Plan, engine.Manifests{})
	if err != nil {
		return nil, err
	}
	changes.Users = nil // the file's manifests are Diff's: it may be gone
	if state.Phase != providers.PhaseUp {
		return lines(state.NotUp()), nil
	}
	return append([]string{}, changes.Lines()...), nil
}
