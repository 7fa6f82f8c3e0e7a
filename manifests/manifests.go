// Package manifests reads the user's own objects: YAML files, directories of them, kustomizations
// and Helm charts, as a lab file lists them. It takes paths and gives objects, with the images that
// they need; it contacts no cluster, and applies nothing.
package manifests

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
)

// Source is one entry of the lab file with its objects, in the order in which they are applied.
type Source struct {
	Name    string
	Objects []unstructured.Unstructured
}

// Read reads all sources of a lab file. Kubernetes is the version that charts are rendered for. Its
// error is labs.Problems, with the line of each entry.
func Read(file string, list []labs.Manifest, kubernetes string) ([]Source, error) {
	var problems labs.Problems
	var all []Source
	dir := filepath.Dir(file)
	seen := map[string]string{}
	for i, m := range list {
		objects, err := read(dir, m, kubernetes)
		if err == nil {
			err = complete(objects, m, seen)
		}
		if err != nil {
			p := labs.Problem{Field: fmt.Sprintf("manifests[%d]", i), What: err.Error()}
			if missing := new(fs.PathError); errors.As(err, &missing) && errors.Is(err, fs.ErrNotExist) {
				p.What, p.Hint = missing.Path+" not found", "paths are relative to the lab file"
			}
			problems = append(problems, p)
			continue
		}
		all = append(all, Source{Name: m.String(), Objects: objects})
	}
	return all, problems.At(file)
}

func read(dir string, m labs.Manifest, kubernetes string) (objects []unstructured.Unstructured, err error) {
	at := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	if m.Chart != "" {
		values := map[string]any{}
		if m.Values != "" {
			name, text := m.Values, []byte(m.Values)
			if strings.Contains(m.Values, "\n") {
				name = "values"
			} else if text, err = os.ReadFile(at(m.Values)); err != nil {
				return nil, err
			}
			if err := yaml.UnmarshalStrict(text, &values); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		texts, err := components.RenderChart(at(m.Chart), m.Release, m.Namespace, values, kubernetes)
		if err != nil {
			return nil, fmt.Errorf("chart %s: %w", m.Chart, err)
		}
		return decoded(m.Chart, texts...)
	}
	info, err := os.Stat(at(m.Path))
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(at(m.Path))
		if err != nil {
			return nil, err
		}
		return decoded(m.Path, text)
	}
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		if _, err := os.Stat(filepath.Join(at(m.Path), name)); err == nil {
			return kustomized(at(m.Path))
		}
	}
	return directory(at(m.Path))
}

// kustomized builds a kustomization. Bases on other machines are fetched by git, as kustomize does.
func kustomized(dir string) ([]unstructured.Unstructured, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	text, err := resources.AsYaml()
	if err != nil {
		return nil, err
	}
	return decoded(dir, text)
}

// directory reads the YAML and JSON files of a directory, in the order of their names.
func directory(dir string) (objects []unstructured.Unstructured, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		more, err := decoded(e.Name(), text)
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	if len(objects) == 0 {
		return nil, errors.New("has no YAML file with an object")
	}
	return objects, nil
}

// decoded returns the objects of texts, those of lists one by one.
func decoded(name string, texts ...[]byte) (objects []unstructured.Unstructured, err error) {
	for _, text := range texts {
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		some, err := components.DecodeObjects(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, o := range some {
			if o.IsList() {
				err = o.EachListItem(func(item runtimeObject) error {
					objects = append(objects, *item.(*unstructured.Unstructured))
					return nil
				})
			} else {
				objects = append(objects, o)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s has no object", name)
	}
	return objects, nil
}

// complete sets the Namespace of objects that name none, and refuses what is not an object and what
// an earlier source has too. A cluster ignores the Namespace of an object of its own.
func complete(objects []unstructured.Unstructured, m labs.Manifest, seen map[string]string) error {
	for i := range objects {
		o := &objects[i]
		switch {
		case o.GetAPIVersion() == "" || o.GetKind() == "":
			return fmt.Errorf("%s holds something without apiVersion and kind, which is not an object", m)
		case o.GetName() == "":
			return fmt.Errorf("%s holds a %s without metadata.name", m, o.GetKind())
		}
		if o.GetNamespace() == "" && !clusterWide(o.GetKind()) {
			o.SetNamespace(m.Namespace)
		}
		unstructured.RemoveNestedField(o.Object, "status")
		name := Called(*o)
		if first, again := seen[name]; again {
			return fmt.Errorf("%s has %s, which %s has too", m, name, first)
		}
		seen[name] = m.String()
	}
	return nil
}

// Parse returns the objects of a YAML text. Those without a Namespace, whose kind has one, get
// Namespace default.
func Parse(text []byte) ([]unstructured.Unstructured, error) {
	objects, err := decoded("the text", text)
	if err == nil {
		err = complete(objects, labs.Manifest{Path: "the text", Namespace: "default"}, map[string]string{})
	}
	return objects, err
}

// clusterWide reports whether a kind of Kubernetes or of netlab's components has no Namespace. Of
// the others the API server says so.
func clusterWide(kind string) bool {
	return strings.HasPrefix(kind, "Cluster") || strings.HasPrefix(kind, "Global") || slices.Contains([]string{
		"Namespace", "Node", "PersistentVolume", "CustomResourceDefinition", "StorageClass", "PriorityClass", "IngressClass", "RuntimeClass",
		"CSIDriver", "CSINode", "VolumeAttachment", "APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "FlowSchema", "PriorityLevelConfiguration", "GatewayClass",
		"IPPool", "BGPConfiguration", "FelixConfiguration", "CiliumNode", "CiliumIdentity",
	}, kind)
}

// Called names an object: "Deployment shop/web".
func Called(o unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Hashes are those of the objects of all sources, by what they are called.
func Hashes(all []Source) map[string]string {
	hashes := map[string]string{}
	for _, s := range all {
		for _, o := range s.Objects {
			text, err := json.Marshal(o.Object)
			if err != nil {
				text = []byte(err.Error())
			}
			sum := sha256.Sum256(text)
			hashes[Called(o)] = hex.EncodeToString(sum[:8])
		}
	}
	return hashes
}

// Changes lists how objects differ from those that were applied, by their hashes.
func Changes(was, is map[string]string) (lines []string) {
	names := map[string]bool{}
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	for name := range names {
		switch {
		case is[name] == "":
			lines = append(lines, "delete "+name)
		case was[name] != is[name]:
			lines = append(lines, "apply "+name)
		}
	}
	slices.Sort(lines)
	return lines
}

// Rendered is what installs the sources, in the order of the lab file. What needs an image that is
// lacking is not waited for.
func Rendered(all []Source, lacking []Image) components.Rendered {
	r := components.Rendered{Name: components.Users}
	for _, s := range all {
		for _, o := range s.Objects {
			if o.GetKind() == "CustomResourceDefinition" {
				r.CRDs = append(r.CRDs, o)
				continue
			}
			r.Objects = append(r.Objects, o)
			waits := slices.Contains([]string{"Deployment", "DaemonSet", "StatefulSet"}, o.GetKind()) && strings.HasPrefix(o.GetAPIVersion(), "apps/")
			if waits && !slices.ContainsFunc(lacking, func(i Image) bool { return i.Of == Called(o) }) {
				r.Ready = append(r.Ready, components.Workload{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()})
			}
		}
	}
	return r
}

// Image is an image that an object needs.
type Image struct {
	Ref    string
	Of     string // the first object that needs it
	Always bool   // it is pulled even where a Node has it
}

// Lacking are the images that objects need and that are not among those that a lab has.
func Lacking(all []Source, has []string) (lacking []Image) {
	known := map[string]bool{}
	for _, ref := range has {
		known[normal(ref)] = true
	}
	for _, s := range all {
		for _, o := range s.Objects {
			for _, i := range images(o) {
				if i.Always || !known[normal(i.Ref)] {
					lacking = append(lacking, i)
				}
			}
		}
	}
	slices.SortFunc(lacking, func(a, b Image) int { return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Of, b.Of)) })
	return slices.CompactFunc(lacking, func(a, b Image) bool { return a == b })
}
