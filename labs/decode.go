package labs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	maxFile = 64 << 10 // bytes; no lab file is larger, and the parser is slow on hostile input
	maxUses = 10_000   // limit of resolved aliases: nested ones multiply, so a small file can expand to a large one
)

// decoder fills a struct from a YAML tree by its json tags. It continues after a problem,
// and records the line of each field.
type decoder struct {
	lines    map[string]int  // path of a field in the file → its line
	reported map[string]bool // paths with a problem
	anchors  map[*ast.AliasNode]ast.Node
	uses     int
	problems Problems
	notes    Problems // old spellings, which are accepted
}

// parse returns the root node of the only document in a YAML file, or the problem that
// prevents it.
func parse(data []byte) (root ast.Node, problem *Problem) {
	// The parser gets untrusted input: report its panic as a problem of the file instead
	// of crashing.
	defer func() {
		if r := recover(); r != nil {
			root, problem = nil, &Problem{Line: 1, What: fmt.Sprintf("cannot be parsed as YAML (%v)", r)}
		}
	}()
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(data, err)
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case doc.Body.Type() == ast.DirectiveType:
		case root != nil:
			return nil, &Problem{Line: doc.Body.GetToken().Position.Line,
				What: "second YAML document", Hint: "use one file for each lab"}
		default:
			root = doc.Body
		}
	}
	return root, nil
}

func syntaxProblem(data []byte, err error) *Problem {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		return &Problem{Line: 1, What: "is not valid YAML: " + strings.SplitN(err.Error(), "\n", 2)[0]}
	}
	p := &Problem{Line: syntax.GetToken().Position.Line, What: "is not valid YAML: " + syntax.GetMessage()}
	lines := strings.Split(string(data), "\n")
	if p.Line >= 1 && p.Line <= len(lines) && strings.Contains(lines[p.Line-1], "\t") {
		p.Hint = "indent with spaces; YAML does not allow tabs"
	}
	return p
}

// resolve finds the node of each alias. An anchor is defined only after its value has been
// read, so that no node can contain itself.
func (d *decoder) resolve(node ast.Node, defined map[string]ast.Node) {
	switch n := node.(type) {
	case *ast.AnchorNode:
		d.resolve(n.Value, defined)
		defined[n.Name.GetToken().Value] = n.Value
	case *ast.AliasNode:
		d.anchors[n] = defined[n.Value.GetToken().Value]
	case *ast.TagNode:
		d.resolve(n.Value, defined)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			d.resolve(v, defined)
		}
	case ast.MapNode:
		for it := n.MapRange(); it.Next(); {
			d.resolve(it.Key(), defined)
			d.resolve(it.Value(), defined)
		}
	}
}

// follow resolves anchors and aliases; it returns nil for an undefined alias.
func (d *decoder) follow(node ast.Node) ast.Node {
	for {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			if d.uses++; d.uses > maxUses {
				return nil
			}
			node = d.anchors[n]
		default:
			return node
		}
	}
}

func (d *decoder) at(node ast.Node, path, hint, format string, args ...any) {
	d.reported[path] = true
	d.problems = append(d.problems, Problem{
		Line: node.GetToken().Position.Line, Field: path, What: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// decode sets v from a node, or adds the problem that prevents it.
func (d *decoder) decode(node ast.Node, v reflect.Value, path string) {
	from := node
	node = d.follow(node)
	if node == nil {
		d.noAnchor(from, path)
		return
	}
	if tag, ok := node.(*ast.TagNode); ok {
		d.at(tag, path, "remove it", "YAML tag %s is not supported", tag.Start.Value)
		return
	}
	if _, null := node.(*ast.NullNode); null {
		d.at(from, path, "remove the field to use its default", "has no value")
		return
	}
	mismatch := func(what string) {
		hint := ""
		if (v.Kind() == reflect.String || v.Type() == reflect.TypeFor[Name]()) && isScalar(node) {
			hint = "quote it: " + strconv.Quote(node.GetToken().Value)
		}
		d.at(from, path, hint, "expected %s, got %s", what, describe(node))
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		kind, example := textForm(v.Type())
		text, ok := stringOf(node)
		if !ok {
			mismatch(kind)
		} else if n, named := u.(*Name); named {
			d.name(from, n, text, path)
		} else if err := u.UnmarshalText([]byte(text)); err != nil || text == "" {
			v.SetZero()
			d.at(from, path, "for example "+example, "%q is not a valid %s", text, strings.TrimPrefix(kind, "a "))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(node, v, path, mismatch)
	case reflect.Map:
		d.decodeMap(node, v, path, mismatch)
	case reflect.Slice:
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			mismatch("a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
		for i, item := range list.Values {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.lines[at] = item.GetToken().Position.Line
			d.decode(item, v.Index(i), at)
		}
	case reflect.String:
		text, ok := stringOf(node)
		if !ok {
			mismatch("a string")
			return
		}
		if text == "" {
			d.at(from, path, "", "is empty")
			return
		}
		v.SetString(text)
	case reflect.Bool:
		b, ok := node.(*ast.BoolNode)
		if !ok {
			mismatch("true or false")
			return
		}
		v.SetBool(b.Value)
	case reflect.Int:
		n, ok := node.(*ast.IntegerNode)
		if !ok {
			mismatch("an integer")
			return
		}
		number, err := strconv.ParseInt(fmt.Sprint(n.Value), 10, 32)
		if err != nil {
			d.at(from, path, "", "%v is out of range", n.Value)
			return
		}
		v.SetInt(number)
	default:
		panic("labs: no YAML form for " + v.Type().String()) // a bug in lab.go that every test detects
	}
}

// name sets a lab's name.
func (d *decoder) name(from ast.Node, n *Name, text, path string) {
	name, err := ParseName(text)
	var bad *NameError
	if errors.As(err, &bad) && bad.Why == notLabel {
		d.at(from, path, bad.hint, "%q %s", text, bad.Why)
	} else if bad != nil {
		d.at(from, path, bad.hint, "%s", bad.Why)
	}
	*n = name
}

func (d *decoder) decodeStruct(node ast.Node, v reflect.Value, path string, mismatch func(string)) {
	fields, renamed := map[string]int{}, map[string]string{}
	var known []string
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name, _, _ := strings.Cut(tag.Get("json"), ",")
		fields[name] = i
		known = append(known, name)
		if was := tag.Get("was"); was != "" {
			renamed[was] = name
		}
	}
	entries, ok := d.entries(node, path)
	if !ok {
		mismatch("a mapping")
		return
	}
	for _, e := range entries {
		if name, old := renamed[e.key]; old {
			e.key = d.renamed(e, path, name, entries)
		}
		at := join(path, e.key)
		i, ok := fields[e.key]
		if !ok {
			d.at(e.node, at, didYouMean(e.key, known), "unknown field")
			d.reported[join(path, nearest(e.key, known))] = true // so that it is not reported as missing too
			continue
		}
		d.lines[at] = e.node.GetToken().Position.Line
		d.decode(e.value, v.Field(i), at)
	}
}

// decodeMap decodes options: their values are scalars of any type, kept as written.
func (d *decoder) decodeMap(node ast.Node, v reflect.Value, path string, mismatch func(string)) {
	entries, ok := d.entries(node, path)
	if !ok {
		mismatch("a mapping")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		at := join(path, e.key)
		d.lines[at] = e.node.GetToken().Position.Line
		value := d.follow(e.value)
		if value == nil {
			d.noAnchor(e.value, at)
		} else if text, ok := stringOf(value); ok {
			v.SetMapIndex(reflect.ValueOf(e.key), reflect.ValueOf(text))
		} else if isScalar(value) {
			v.SetMapIndex(reflect.ValueOf(e.key), reflect.ValueOf(value.GetToken().Value))
		} else {
			d.at(e.value, at, "", "expected a string, got %s", describe(value))
		}
	}
}

// entry is one key of a mapping.
type entry struct {
	key   string
	node  ast.Node // the key itself
	value ast.Node
}

// entries lists the keys of a mapping, in order, merge keys (<<) resolved: the mapping's own
// keys override merged ones.
func (d *decoder) entries(node ast.Node, path string) ([]entry, bool) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil, false
	}
	var own, merged []entry
	for it := mapping.MapRange(); it.Next(); {
		if it.Key().IsMergeKey() {
			merged = append(merged, d.mergedEntries(it.Value(), path)...)
			continue
		}
		var key ast.Node = it.Key()
		if explicit, ok := key.(*ast.MappingKeyNode); ok {
			key = explicit.Value
		}
		scalar := d.follow(key)
		if scalar == nil || !isScalar(scalar) {
			d.at(it.Key(), path, "", "a key must be a scalar")
			continue
		}
		text, ok := stringOf(scalar)
		if !ok {
			text = scalar.GetToken().Value
		}
		e := entry{text, key, it.Value()}
		if i := slices.IndexFunc(own, func(o entry) bool { return o.key == e.key }); i >= 0 {
			d.at(key, join(path, e.key), "remove one", "duplicate field, first in line %d", own[i].node.GetToken().Position.Line)
			continue
		}
		own = append(own, e)
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(o entry) bool { return o.key == m.key }) {
			own = append(own, m)
		}
	}
	return own, true
}

// mergedEntries lists the keys of the value of <<: a mapping or a list of them.
func (d *decoder) mergedEntries(value ast.Node, path string) []entry {
	node := d.follow(value)
	if node == nil {
		d.noAnchor(value, path)
		return nil
	}
	if list, ok := node.(*ast.SequenceNode); ok {
		var out []entry
		for _, item := range list.Values {
			out = append(out, d.mergedEntries(item, path)...)
		}
		return out
	}
	entries, ok := d.entries(node, path)
	if !ok {
		d.at(value, path, "", "<< expects a mapping, got %s", describe(node))
	}
	return entries
}

func (d *decoder) noAnchor(node ast.Node, path string) {
	name := strings.TrimPrefix(node.String(), "*")
	d.at(node, path, "define &"+name+" above it", "undefined anchor of alias *%s", name)
}

// reportedAbove reports whether a field or one of its parents already has a problem. Such a
// field counts as unset, so that one mistake is reported once.
func (d *decoder) reportedAbove(path string) bool {
	for ; path != ""; path = above(path) {
		if d.reported[path] {
			return true
		}
	}
	return false
}

// lineOf returns the line of a field, or of its nearest parent in the file.
func (d *decoder) lineOf(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = above(path)
	}
	return 1
}

func above(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isScalar(node ast.Node) bool {
	_, ok := node.(ast.ScalarNode)
	return ok
}

func stringOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// textForm returns the name and an example of the text form of an encoding.TextUnmarshaler.
func textForm(t reflect.Type) (kind, example string) {
	switch t {
	case reflect.TypeFor[Name]():
		return "a string", "quickstart"
	case reflect.TypeFor[Duration]():
		return "a duration", "3s or 1m30s"
	case reflect.TypeFor[Rate]():
		return "a rate", "500Mbit or 1.5Gbit"
	case reflect.TypeFor[Size]():
		return "a size", "1536MiB or 8GiB"
	}
	return "a CIDR", "172.30.0.0/24"
}

func describe(node ast.Node) string {
	switch n := node.(type) {
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	case *ast.StringNode:
		return strconv.Quote(n.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return "boolean " + n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode:
		return "number " + n.GetToken().Value
	}
	return strconv.Quote(node.GetToken().Value)
}
