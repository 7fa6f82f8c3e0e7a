package applied

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// longest is the length of a value that is recorded as it is.
const longest = 100

// owned are the fields of an object that a manager applied; those that it set in another way only if
// it applied none. Those of subresources are not among them.
func owned(entries []metav1.ManagedFieldsEntry, manager string) (*fieldpath.Set, error) {
	all := fieldpath.NewSet()
	of := slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager != manager || e.Subresource != "" || e.FieldsV1 == nil
	})
	applies := func(e metav1.ManagedFieldsEntry) bool { return e.Operation == metav1.ManagedFieldsOperationApply }
	some := slices.ContainsFunc(of, applies)
	for _, e := range of {
		if some && !applies(e) {
			continue
		}
		set, err := parse(e.FieldsV1.GetRawBytes())
		if err != nil {
			return nil, fmt.Errorf("managed fields of %s: %w", manager, err)
		}
		all = all.Union(set)
	}
	return all, nil
}

func parse(fields []byte) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	return set, set.FromJSON(bytes.NewReader(fields))
}

// values are the values of an object at the leaves of a set. Paths that it does not have are left
// out, and maps and lists that were applied empty: others may add to those.
func values(object map[string]any, set *fieldpath.Set) map[string]string {
	found := map[string]string{}
	set.Leaves().Iterate(func(p fieldpath.Path) {
		at := any(object)
		for _, e := range p {
			var has bool
			if at, has = step(at, e); !has {
				return
			}
		}
		path := strings.TrimPrefix(p.String(), ".")
		if is := text(at); is != "{}" && is != "[]" && is != "null" && path != "metadata.annotations" && path != "metadata.labels" {
			found[path] = is
		}
	})
	return found
}

// step goes one element of a path into a value.
func step(in any, e fieldpath.PathElement) (any, bool) {
	if e.FieldName != nil {
		m, _ := in.(map[string]any)
		v, ok := m[*e.FieldName]
		return v, ok
	}
	list, _ := in.([]any)
	if e.Index != nil {
		if *e.Index < 0 || *e.Index >= len(list) {
			return nil, false
		}
		return list[*e.Index], true
	}
	for _, item := range list {
		if e.Value != nil && value.Equals(value.NewValueInterface(item), *e.Value) || e.Key != nil && hasKey(item, *e.Key) {
			return item, true
		}
	}
	return nil, false
}

func hasKey(item any, key value.FieldList) bool {
	m, _ := item.(map[string]any)
	return !slices.ContainsFunc(key, func(f value.Field) bool {
		is, ok := m[f.Name]
		return !ok || !value.Equals(value.NewValueInterface(is), f.Value)
	})
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil || len(data) > longest {
		return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	}
	return string(data)
}

// changes describes how recorded values differ from the present ones, by path.
func changes(recorded, present map[string]string) (changes []string) {
	for _, path := range slices.Sorted(maps.Keys(recorded)) {
		was := recorded[path]
		is, ok := present[path]
		switch {
		case ok && is == was:
		case !ok:
			changes = append(changes, path+" was removed")
		case strings.HasPrefix(was, "sha256:") || strings.HasPrefix(is, "sha256:"):
			changes = append(changes, path+" was changed")
		default:
			changes = append(changes, fmt.Sprintf("%s is %s, applied was %s", path, is, was))
		}
	}
	return changes
}
