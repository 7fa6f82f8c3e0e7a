package labs

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Setting is a field of a lab file that has another value than the file gives it.
type Setting struct {
	Field string `json:"field"` // its path, such as cni.version or nodes[1].count
	Value string `json:"value"` // YAML on one line
}

func (s Setting) String() string { return s.Field + "=" + s.Value }

// fieldPath is the path of a field: names, each with the index of an item of a list or without.
var fieldPath = regexp.MustCompile(`^[A-Za-z_][\w-]*(\[\d+\])*(\.[A-Za-z_][\w./-]*?(\[\d+\])*)*$`)

// ParseSettings reads FIELD=VALUE,VALUE: one Setting of the field for each value. Values are those
// of a YAML list, so that commas within {…}, […] and quotes separate nothing.
func ParseSettings(text string) ([]Setting, error) {
	field, values, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		return nil, fmt.Errorf("%q has no value: FIELD=VALUE,VALUE expected, such as cni=flannel,calico", text)
	case !fieldPath.MatchString(field):
		return nil, fmt.Errorf("%q is not the path of a field, such as cni.version or nodes[1].count", field)
	}
	root, problem := parse([]byte("[" + values + "]"))
	if problem != nil {
		return nil, fmt.Errorf("%s: %q is not a list of YAML values", field, values)
	}
	list, ok := root.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return nil, fmt.Errorf("%s: no value", field)
	}
	var all []Setting
	for i, v := range list.Values {
		if _, null := v.(*ast.NullNode); null {
			return nil, fmt.Errorf("%s: value %d is empty", field, i+1)
		}
		value, err := treeOf(&decoder{}, v)
		if err != nil {
			return nil, fmt.Errorf("%s: value %d: %w", field, i+1, err)
		}
		s := Setting{field, value.text()}
		if slices.Contains(all, s) {
			return nil, fmt.Errorf("%s: %s is listed twice", field, s.Value)
		}
		all = append(all, s)
	}
	return all, nil
}

// Set returns a lab file with other values of some fields: fields that it does not have are added. A
// scalar for a section with a name, as cni, is its name. Comments are lost, aliases resolved; whether
// the result is a valid lab is for Load to say. The error is Problems, without lines.
func Set(data []byte, settings []Setting) ([]byte, error) {
	d := &decoder{lines: map[string]int{}, reported: map[string]bool{}, anchors: map[*ast.AliasNode]ast.Node{}}
	root, problem := parse(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	d.resolve(root, map[string]ast.Node{})
	file, err := treeOf(d, root)
	if err == nil && file.fields == nil {
		err = fmt.Errorf("is not a mapping")
	}
	if err != nil {
		return nil, Problems{{What: err.Error()}}
	}
	var problems Problems
	for _, s := range settings {
		node, problem := parse([]byte("[" + s.Value + "]"))
		list, ok := node.(*ast.SequenceNode)
		if problem != nil || !ok || len(list.Values) != 1 {
			problems.add(s.Field, "", "%q is not one YAML value", s.Value)
			continue
		}
		value, err := treeOf(&decoder{}, list.Values[0])
		if err == nil {
			err = file.set(s.Field, value.named(s.Field))
		}
		if err != nil {
			problems.add(s.Field, "", "%v", err)
		}
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, name := range file.order {
		fmt.Fprintf(&out, "%s: %s\n", quoted(name), file.fields[name].text())
	}
	return []byte(out.String()), nil
}

// tree is a YAML value without aliases and comments: a mapping, a list or a scalar.
type tree struct {
	order  []string // the keys of fields
	fields map[string]*tree
	items  []*tree
	list   bool
	scalar string // as YAML writes it
}

func treeOf(d *decoder, node ast.Node) (*tree, error) {
	node = d.follow(node)
	switch n := node.(type) {
	case nil:
		return nil, fmt.Errorf("has an alias without an anchor")
	case ast.MapNode:
		entries, _ := d.entries(node, "")
		t := &tree{fields: map[string]*tree{}}
		for _, e := range entries {
			value, err := treeOf(d, e.value)
			if err != nil {
				return nil, err
			}
			t.order, t.fields[e.key] = append(t.order, e.key), value
		}
		if len(d.problems) > 0 {
			return nil, fmt.Errorf("%s", d.problems[0].What)
		}
		return t, nil
	case *ast.SequenceNode:
		t := &tree{list: true}
		for _, item := range n.Values {
			value, err := treeOf(d, item)
			if err != nil {
				return nil, err
			}
			t.items = append(t.items, value)
		}
		return t, nil
	case *ast.StringNode:
		if n.GetToken().Type == token.StringType && plain.MatchString(n.Value) {
			return &tree{scalar: n.Value}, nil
		}
		return &tree{scalar: strconv.Quote(n.Value)}, nil
	case *ast.LiteralNode:
		return &tree{scalar: strconv.Quote(n.Value.Value)}, nil
	case ast.ScalarNode:
		return &tree{scalar: n.GetToken().Value}, nil
	}
	return nil, fmt.Errorf("YAML %s is not supported", strings.ToLower(node.Type().String()))
}

// plain is text that needs no quotes wherever it stands.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./][\w./-]*(:[\w./-]+)*$`)

func quoted(key string) string {
	if plain.MatchString(key) {
		return key
	}
	return strconv.Quote(key)
}

// text is the value in flow style.
func (t *tree) text() string {
	switch {
	case t.fields != nil:
		entries := make([]string, len(t.order))
		for i, name := range t.order {
			entries[i] = quoted(name) + ": " + t.fields[name].text()
		}
		return "{" + strings.Join(entries, ", ") + "}"
	case t.list:
		items := make([]string, len(t.items))
		for i, item := range t.items {
			items[i] = item.text()
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return t.scalar
}

// named is a value for a field: {name: value} for a scalar where the field is a section of a lab
// with a name.
func (t *tree) named(field string) *tree {
	if t.fields != nil || t.list {
		return t
	}
	_, sections, _ := fieldsOf(reflect.ValueOf(&Lab{}).Elem())
	section, ok := sections[field]
	if !ok || section.Kind() != reflect.Struct {
		return t
	}
	if _, named := section.Type().FieldByName("Name"); !named {
		return t
	}
	return &tree{order: []string{"name"}, fields: map[string]*tree{"name": t}}
}

// step is the name of a field, or the index of an item.
var step = regexp.MustCompile(`[^.\[\]]+`)

// set puts a value at a path below the mapping t.
func (t *tree) set(path string, value *tree) error {
	at := ""
	for {
		loc := step.FindStringIndex(path)
		name, rest := path[:loc[1]], path[loc[1]:]
		if t.list != (name[0] == '[') || t.fields == nil && !t.list {
			return t.unlike(at)
		}
		if t.list {
			i, _ := strconv.Atoi(name[1:])
			if i >= len(t.items) {
				return fmt.Errorf("%s has %d items in the file, the first is %s[0]", at, len(t.items), at)
			}
			at, rest = at+name+"]", strings.TrimPrefix(rest, "]")
			if rest == "" {
				t.items[i] = value
				return nil
			}
			t, path = t.items[i], rest
			continue
		}
		name = strings.TrimPrefix(name, ".")
		at = join(at, name)
		if _, has := t.fields[name]; !has {
			if strings.HasPrefix(rest, "[") {
				return fmt.Errorf("%s is not in the file: only items that the file lists can be set", at)
			}
			t.order, t.fields[name] = append(t.order, name), &tree{fields: map[string]*tree{}}
		}
		if rest == "" {
			t.fields[name] = value
			return nil
		}
		t, path = t.fields[name], rest
	}
}

func (t *tree) unlike(at string) error {
	switch {
	case t.list:
		return fmt.Errorf("%s is a list: %s[0] is its first item", at, at)
	case t.fields != nil:
		return fmt.Errorf("%s is a mapping, not a list", at)
	}
	return fmt.Errorf("%s is %s in the file, neither a mapping nor a list", at, t.scalar)
}
