package components

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"k8s.io/apimachinery/pkg/util/version"
)

const (
	componentFile = "component.yaml"
	versionFile   = "version.yaml"
)

// readVersions reads a folder: component.yaml, and each folder in it that has a
// version.yaml. A folder without component.yaml is not a component.
func readVersions(root fs.FS, name string) ([]Component, error) {
	shared := Component{Name: name}
	if err := decodeFile(root, path.Join(name, componentFile), &shared); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var err error
	if shared.files, err = fs.Sub(root, name); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root, name)
	if err != nil {
		return nil, err
	}
	var versions []Component
	var problems []error
	for _, e := range entries {
		var own Component
		err := decodeFile(root, path.Join(name, e.Name(), versionFile), &own)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if own.Version != "" || shared.Version != "" {
			err = errors.Join(err, fmt.Errorf("%s: version is the name of the folder %s", name, e.Name()))
		}
		k := overlay(shared, own)
		k.Version = e.Name()
		above, subErr := fs.Sub(root, path.Join(name, e.Name()))
		k.files = layered{above, shared.files}
		versions, problems = append(versions, k), append(problems, err, subErr)
	}
	if len(versions) == 0 {
		versions = []Component{shared}
	}
	slices.SortStableFunc(versions, newestFirst)
	for i, k := range versions {
		versions[i] = k.expand()
	}
	return versions, errors.Join(problems...)
}

func decodeFile(root fs.FS, file string, to *Component) error {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return err
	}
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(to)
	if err != nil && !errors.Is(err, io.EOF) { // a version.yaml may be empty: the folder is a pin
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// newestFirst orders versions: the one marked as default, then by semantic version; those
// that are none come last.
func newestFirst(a, b Component) int {
	if a.Default != b.Default {
		if a.Default {
			return -1
		}
		return 1
	}
	x, errX := version.ParseSemantic(a.Version)
	y, errY := version.ParseSemantic(b.Version)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(fmt.Sprint(errX != nil, a.Version), fmt.Sprint(errY != nil, b.Version))
	case x.LessThan(y):
		return 1
	case y.LessThan(x):
		return -1
	}
	return 0
}

// layered is a version's folder over its component's: an entry of the former, a file or a
// whole directory, hides the entry of the same name in the latter.
type layered struct{ above, below fs.FS }

// Open opens a file of one of the two.
func (l layered) Open(name string) (fs.File, error) {
	first, _, _ := strings.Cut(name, "/")
	if _, err := fs.Stat(l.above, first); first != "." && err == nil {
		return l.above.Open(name)
	}
	return l.below.Open(name)
}

// overlay lays what a version says over what its component says. What the version leaves out
// stays; of mappings the version's keys win; builds, layers and images are laid over those
// of their name; modules are added to Requires; any other list is replaced as a whole.
func overlay(shared, own Component) Component {
	out := shared
	lay(reflect.ValueOf(&out).Elem(), reflect.ValueOf(own))
	return out
}

// lay changes below, a copy whose references are others', and so replaces these.
func lay(below, above reflect.Value) {
	if above.IsZero() {
		return
	}
	switch {
	case below.Kind() == reflect.Struct:
		for i := range below.NumField() {
			if below.Type().Field(i).IsExported() {
				lay(below.Field(i), above.Field(i))
			}
		}
	case below.Kind() == reflect.Pointer && !below.IsNil():
		merged := reflect.New(below.Type().Elem())
		merged.Elem().Set(below.Elem())
		lay(merged.Elem(), above.Elem())
		below.Set(merged)
	case below.Type() == reflect.TypeFor[Requires]():
		below.Set(reflect.ValueOf(below.Interface().(Requires).and(above.Interface().(Requires))))
	case below.Kind() == reflect.Map:
		merged := reflect.MakeMap(below.Type())
		for _, m := range []reflect.Value{below, above} {
			for it := m.MapRange(); it.Next(); {
				merged.SetMapIndex(it.Key(), it.Value())
			}
		}
		below.Set(merged)
	case below.Kind() == reflect.Slice && named(below.Type().Elem()):
		below.Set(layNamed(below, above))
	default:
		below.Set(above)
	}
}

// named reports whether the entries of a list are identified by names.
func named(entry reflect.Type) bool {
	return slices.Contains([]reflect.Type{reflect.TypeFor[Build](), reflect.TypeFor[Layer](), reflect.TypeFor[Image]()}, entry)
}

func layNamed(below, above reflect.Value) reflect.Value {
	merged := reflect.MakeSlice(below.Type(), 0, below.Len()+above.Len())
	at := map[string]int{}
	for _, list := range []reflect.Value{below, above} {
		for i := range list.Len() {
			entry := list.Index(i)
			name := entry.FieldByName("Name").String()
			if there, ok := at[name]; ok {
				lay(merged.Index(there), entry)
				continue
			}
			at[name] = merged.Len()
			merged = reflect.Append(merged, entry)
		}
	}
	return merged
}

// and returns the modules of both.
func (r Requires) and(more Requires) Requires {
	all := Requires{}
	for _, part := range []Requires{r, more} {
		for version, modules := range part {
			all[version] = append(slices.Clone(all[version]), modules...)
		}
	}
	return all
}

// expand fills in the version where a recipe refers to it: in the text of files, and in the
// versions of modules that are released together. Modules of one version are sorted, wherever
// they are listed.
func (k Component) expand() Component {
	if k.Version == ReleaseVersion {
		return k
	}
	k.Builds, k.Images = slices.Clone(k.Builds), slices.Clone(k.Images)
	for i, b := range k.Builds {
		if b.Requires == nil {
			continue
		}
		requires := Requires{}
		for version, modules := range b.Requires {
			requires = requires.and(Requires{k.Expanded(version): modules})
		}
		for version, modules := range requires {
			slices.Sort(modules)
			requires[version] = slices.Compact(modules)
		}
		k.Builds[i].Requires = requires
	}
	for i, image := range k.Images {
		k.Images[i].Files = slices.Clone(image.Files)
		for j, f := range image.Files {
			k.Images[i].Files[j].Text = k.Expanded(f.Text)
		}
	}
	return k
}

// Expanded is a text of a recipe with the component's version for $VERSION, and with the parts of
// that version for $MAJOR, $MINOR and $PATCH.
func (k Component) Expanded(text string) string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(k.Version, "v"), ".")
	minor, patch, _ := strings.Cut(rest, ".")
	return strings.NewReplacer("$VERSION", k.Version, "$MAJOR", major, "$MINOR", minor, "$PATCH", patch).Replace(text)
}

// of fills in the version of a component that has that of its Kubernetes.
func (k Component) of(release Component) Component {
	if k.Version == ReleaseVersion && release.Version != "" {
		k.Version = release.Version
		return k.expand()
	}
	return k
}
