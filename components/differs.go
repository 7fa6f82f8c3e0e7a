package components

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference is a value that netlab sets and that differs from what upstream's chart, manifest
// or tool sets, with the reason.
type Difference struct {
	// In names what has the field: "values" of the chart, the kind and name of an object that is
	// patched, or "kubelet", "kubeadm" and "kube-proxy" for their configuration.
	In string `json:"in"`
	// Field is its path, as Settings writes it; the entry covers all below it.
	Field    string `json:"field"`
	Value    any    `json:"value,omitempty"`    // nil: it follows from the lab file or the component's options
	Upstream any    `json:"upstream,omitempty"` // the value there, or what happens without one; nil: nothing
	Why      string `json:"why"`
}

func (d Difference) String() string {
	value, upstream := "set per lab", "unset"
	if d.Value != nil {
		value = inline(d.Value)
	}
	if d.Upstream != nil {
		upstream = inline(d.Upstream)
	}
	return fmt.Sprintf("%s %s: %s (upstream: %s): %s", d.In, d.Field, value, upstream, d.Why)
}

// covers reports whether the entry is for a setting.
func (d Difference) covers(in, field string) bool {
	if d.In != in || !strings.HasPrefix(field, d.Field) {
		return false
	}
	rest := field[len(d.Field):]
	return rest == "" || rest[0] == '.' || rest[0] == '['
}

// Listed returns the entry of Differs that covers a setting.
func (k Component) Listed(in, field string) (Difference, bool) {
	for _, d := range k.Differs {
		if d.covers(in, field) {
			return d, true
		}
	}
	return Difference{}, false
}

// inline is a value as one line of YAML.
func inline(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" {
			return `""`
		}
		return v
	case map[string]any:
		var fields []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			fields = append(fields, key+": "+inline(v[key]))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, inline(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// Settings are the values below v by their paths: "operator.replicas" of mappings, and
// "containers[agent].image" of lists whose entries have names. An entry that has but a name and
// a value is that value; any other list is one value.
func Settings(v any) map[string]any {
	out := map[string]any{}
	settings("", plain(v), out)
	return out
}

func settings(path string, v any, out map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out[path] = v
		}
		for key, value := range v {
			settings(strings.TrimPrefix(path+"."+key, "."), value, out)
		}
	case []any:
		named := namedEntries(v)
		if named == nil {
			out[path] = v
		}
		for name, entry := range named {
			if value, only := entry["value"]; only && len(entry) == 1 {
				out[path+"["+name+"]"] = value
				continue
			}
			settings(path+"["+name+"]", entry, out)
		}
	default:
		out[path] = v
	}
}

// namedEntries are the entries of a list by their names, each without it; nil if some have none.
func namedEntries(list []any) map[string]map[string]any {
	named := map[string]map[string]any{}
	for _, entry := range list {
		fields, _ := entry.(map[string]any)
		name, ok := fields["name"].(string)
		if !ok {
			return nil
		}
		rest := maps.Clone(fields)
		delete(rest, "name")
		named[name] = rest
	}
	if len(named) == 0 {
		return nil
	}
	return named
}

// plain is a value in the types of JSON, whatever decoded it.
func plain(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return v
	}
	return out
}

// DifferencesMarkdown documents the Differs of the default version of every component; it is
// the content of docs/differences.md.
func (c Catalog) DifferencesMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Where netlab's settings differ from upstream's

<!-- Generated from the differs of components/*/component.yaml: go test ./components -run TestDifferencesDocument -update -->

What is not listed here is as upstream's chart, manifest or kubeadm sets it. A test walks the
values of the charts, the patches, and the configuration of kubeadm, kubelet and kube-proxy, and
fails for a value that is set and not listed. ` + "`netlab components`" + ` prints the same list, also for other
versions. "set per lab" is a value that follows from the lab file.
`)
	for _, name := range c.Names() {
		k := c[name][0]
		if len(k.Differs) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s %s\n\n| in | field | netlab | upstream | why |\n|---|---|---|---|---|\n", name, k.Version)
		for _, d := range k.Differs {
			value, upstream := "set per lab", "unset"
			if d.Value != nil {
				value = "`" + inline(d.Value) + "`"
			}
			if d.Upstream != nil {
				upstream = inline(d.Upstream)
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", d.In, d.Field, value, cell(upstream), cell(d.Why))
		}
	}
	return b.String()
}

// cell is a text within a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
