package exercises

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/topology"
)

// Known is what an exercise may name.
type Known struct {
	Labs  labs.Known
	Paths []string // ids of netlab's own paths
}

// extension is that of every exercise file.
const extension = ".yaml"

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Names lists the exercises of a folder, sorted. Folders in it are not looked into: they may hold the
// labs.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, hint.With(fmt.Errorf("folder of exercises: %w", err), "give the folder with --dir; netlab's own are scenarios/exercises of its source")
	}
	var names []string
	for _, e := range entries {
		if name, is := strings.CutSuffix(e.Name(), extension); is && !e.IsDir() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, hint.With(fmt.Errorf("no exercises found in %s", dir), "an exercise is a file NAME.yaml of kind "+Kind)
	}
	return names, nil
}

// Open reads an exercise of a folder by its name.
func Open(dir, name string, known Known) (Exercise, error) {
	names, err := Names(dir)
	if err != nil {
		return Exercise{}, err
	}
	if !slices.Contains(names, name) {
		return Exercise{}, hint.With(fmt.Errorf("exercise %q not found in %s", name, dir), labs.DidYouMean(name, names))
	}
	return Read(filepath.Join(dir, name+extension), known)
}

// Read reads an exercise file. Problems name the file as it was given.
func Read(file string, known Known) (Exercise, error) {
	data, err := labs.ReadFile(file)
	if err != nil {
		return Exercise{}, err
	}
	return Load(file, data, known)
}

// Load decodes an exercise strictly, sets defaults and validates it together with its lab, which it
// reads. The error is labs.Problems, with every problem found; those of the lab are in its file.
func Load(file string, data []byte, known Known) (Exercise, error) {
	var ex Exercise
	var lab problems
	err := labs.Decode(file, data, Kind, &ex, func(doc labs.Document) {
		ex.fill()
		v := validator{Document: doc, ex: ex, known: known}
		lab = v.validate(file)
		ex.Of, ex.Adds = v.plan.Lab, v.ex.Adds
	})
	var found labs.Problems
	if errors.As(err, &found) {
		return Exercise{}, append(found, lab...)
	} else if err != nil {
		return Exercise{}, err
	} else if len(lab) > 0 {
		return Exercise{}, labs.Problems(lab)
	}
	ex.Name = strings.TrimSuffix(filepath.Base(file), extension)
	ex.File, err = filepath.Abs(file)
	return ex, err
}

// problems are those of another file than the exercise.
type problems = labs.Problems

// LabFile is the path of the exercise's lab file; "" if the text is in the exercise.
func (ex Exercise) LabFile() string { return ex.Lab.path(ex.File) }

// path is where a Text's file is; "" for one without.
func (t Text) path(exercise string) string {
	if t.File == "" || filepath.IsAbs(t.File) {
		return t.File
	}
	return filepath.Join(filepath.Dir(exercise), t.File)
}

func (ex *Exercise) fill() {
	for i := range ex.Solved.Paths {
		ex.Solved.Paths[i].Fill()
	}
	for _, steps := range [][]Step{ex.Faults, ex.Solution.Steps} {
		for _, s := range steps {
			if s.Patch != nil && s.Patch.Type == "" {
				s.Patch.Type = PatchMerge
			}
			if s.Signal != nil && s.Signal.Send == "" {
				s.Signal.Send = SendKill
			}
		}
	}
}

// validator finds the problems of an exercise whose defaults are set.
type validator struct {
	labs.Document
	ex    Exercise
	known Known
	plan  topology.Plan // of the lab; the zero value if it has problems
}

// validate returns the problems of the lab's own file.
func (v *validator) validate(file string) (ofLab problems) {
	if name := strings.TrimSuffix(filepath.Base(file), extension); !dnsLabel.MatchString(name) {
		v.Append(labs.Problem{Line: 1, What: fmt.Sprintf("its name %q, which is that of the exercise, is not a DNS label", name), Hint: "rename the file: lower-case letters, digits and -"})
	}
	for _, f := range []struct{ name, value string }{{"title", v.ex.Title}, {"chapter", v.ex.Chapter}, {"story", v.ex.Story}} {
		if strings.TrimSpace(f.value) == "" {
			v.Add(f.name, "", "is missing")
		}
	}
	if strings.Contains(strings.TrimSpace(v.ex.Title), "\n") {
		v.Add("title", "put more into story", "has several lines")
	}
	if n := v.ex.Minutes; n < 1 || n > maxMinutes {
		v.Add("minutes", fmt.Sprintf("must be between 1 and %d", maxMinutes), "%d minutes is out of range", n)
	}
	if len(v.ex.Hints) == 0 {
		v.Add("hints", "add one: where to look first", "lists no hints")
	}
	if strings.TrimSpace(v.ex.Solution.Text) == "" {
		v.Add("solution.text", "say what was wrong, how that is seen, and what mends it", "is missing")
	}
	lab, ofLab := v.lab(file)
	v.objects(file)
	if len(v.ex.Faults) == 0 {
		v.Add("faults", "for example faults: [{link: \"w1:eth0\"}]", "lists no faults")
	}
	v.steps("faults", v.ex.Faults)
	v.steps("solution.steps", v.ex.Solution.Steps)
	v.solved(lab)
	return ofLab
}

// lab reads the exercise's lab. Problems of a text are at their lines of the exercise.
func (v *validator) lab(file string) (lab labs.Lab, ofLab problems) {
	name := v.ex.Lab.path(file)
	text, ok := v.text("lab", file, v.ex.Lab)
	if !ok {
		return lab, nil
	}
	plan, err := topology.Load(name, text, v.known.Labs)
	if err == nil {
		v.plan = plan
		lab, err = labs.Load(name, text, v.known.Labs)
	}
	var found labs.Problems
	if !errors.As(err, &found) && err != nil {
		v.Add("lab", "", "%v", err)
	}
	if name != "" {
		return lab, found
	}
	for _, p := range found {
		p.Line += v.Line("lab.inline") // the text begins below the field
		p.Field = strings.TrimSuffix("lab.inline."+p.Field, ".")
		v.Append(p)
	}
	if len(lab.Manifests) > 0 {
		v.Add("lab.inline", "list them in objects", "has manifests")
	}
	return lab, nil
}

// text reads a Text.
func (v *validator) text(field, exercise string, t Text) (text []byte, ok bool) {
	switch {
	case t.File == "" && t.Inline == "":
		v.Add(field, fmt.Sprintf("set %s.file or %s.inline", field, field), "is missing")
	case t.File != "" && t.Inline != "":
		v.Add(field+".inline", "keep one", "is set together with %s.file", field)
	case t.Inline != "":
		return []byte(t.Inline), true
	default:
		text, err := labs.ReadFile(t.path(exercise))
		if err != nil {
			v.Add(field+".file", "paths are relative to the exercise", "%v", err)
		}
		return text, err == nil
	}
	return nil, false
}

// objects checks that what the exercise adds can be taken away with its Namespaces.
func (v *validator) objects(file string) {
	var namespaces []string
	texts := make([][]unstructured.Unstructured, len(v.ex.Objects))
	for i, t := range v.ex.Objects {
		at := fmt.Sprintf("objects[%d]", i)
		text, ok := v.text(at, file, t)
		if !ok {
			continue
		}
		objects, err := manifests.Parse(text)
		if err != nil {
			v.Add(at, "", "%v", err)
		}
		for _, o := range objects {
			if o.GetKind() == "Namespace" {
				namespaces = append(namespaces, o.GetName())
			}
		}
		texts[i] = objects
		v.ex.Adds += string(text) + "\n---\n"
	}
	for i, objects := range texts {
		for _, o := range objects {
			if n := o.GetNamespace(); n != "" && !slices.Contains(namespaces, n) {
				v.Add(fmt.Sprintf("objects[%d]", i), "add the Namespace: `reset` makes it anew", "%s is in Namespace %s, which is not one of the objects", manifests.Called(o), n)
			}
		}
	}
}

// solved checks what counts as solved; lab is the zero value if it has problems.
func (v *validator) solved(lab labs.Lab) {
	if len(v.ex.Solved.Paths)+len(v.ex.Solved.Verify) == 0 {
		v.Add("solved", "list paths, or ids of netlab's own under verify", "lists nothing that must be true")
	}
	if lab.Kind != "" {
		v.Append(lab.PathProblems("solved.paths", v.ex.Solved.Paths, v.Reported)...)
	}
	for i, id := range v.ex.Solved.Verify {
		if !slices.Contains(v.known.Paths, id) {
			v.Add(fmt.Sprintf("solved.verify[%d]", i), labs.DidYouMean(id, v.known.Paths), "%q is not the id of a path", id)
		}
	}
}
