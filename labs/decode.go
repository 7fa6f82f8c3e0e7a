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
	maxFile = 64 << 10 // bytes; no lab is larger, and the parser is slow on hostile input
	maxUses = 10_000   // aliases followed: they multiply, so a small file can ask for much
)

// decoder fills a struct from a YAML tree by its json tags. It goes on after a
// problem, and remembers where each field was written.
type decoder struct {
	lines    map[string]int  // path of a field in the file → its line
	told     map[string]bool // paths with a problem
	anchors  map[*ast.AliasNode]ast.Node
	uses     int
	problems Problems
	notes    Problems // old spellings, which are accepted
}

// parse gives the tree of the only document of a YAML file, or the problem in the way.
func parse(data []byte) (root ast.Node, problem *Problem) {
	// The parser is fed whatever users have; a panic of it is a defect of theirs to
	// tell, not a crash of ours.
	defer func() {
		if r := recover(); r != nil {
			root, problem = nil, &Problem{Line: 1, What: fmt.Sprintf("is no YAML that can be read (%v)", r)}
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
				What: "a second document begins", Hint: "keep one lab a file"}
		default:
			root = doc.Body
		}
	}
	return root, nil
}

func syntaxProblem(data []byte, err error) *Problem {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		return &Problem{Line: 1, What: "is no YAML: " + strings.SplitN(err.Error(), "\n", 2)[0]}
	}
	p := &Problem{Line: syntax.GetToken().Position.Line, What: "is no YAML: " + syntax.GetMessage()}
	lines := strings.Split(string(data), "\n")
	if p.Line >= 1 && p.Line <= len(lines) && strings.Contains(lines[p.Line-1], "\t") {
		p.Hint = "indent with spaces; YAML takes no tabs"
	}
	return p
}

// resolve finds what each alias stands for. An anchor counts only once its value has
// ended, so nothing can contain itself.
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

// follow gives the node behind anchors and aliases; nil where there is none.
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
	d.told[path] = true
	d.problems = append(d.problems, Problem{
		Line: node.GetToken().Position.Line, Field: path, What: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// decode sets v from a node, or tells why it cannot.
func (d *decoder) decode(node ast.Node, v reflect.Value, path string) {
	from := node
	node = d.follow(node)
	if node == nil {
		d.noAnchor(from, path)
		return
	}
	if tag, ok := node.(*ast.TagNode); ok {
		d.at(tag, path, "leave it out", "the tag %s has no meaning here", tag.Start.Value)
		return
	}
	if _, null := node.(*ast.NullNode); null {
		d.at(from, path, "leave the field out for its default", "has no value")
		return
	}
	wants := func(what string) {
		hint := ""
		if (v.Kind() == reflect.String || v.Type() == reflect.TypeFor[Name]()) && isScalar(node) {
			hint = "write " + strconv.Quote(node.GetToken().Value)
		}
		d.at(from, path, hint, "wants %s, not %s", what, describe(node))
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		kind, example := textForm(v.Type())
		text, ok := stringOf(node)
		if !ok {
			wants(kind)
		} else if n, named := u.(*Name); named {
			d.name(from, n, text, path)
		} else if err := u.UnmarshalText([]byte(text)); err != nil || text == "" {
			v.SetZero()
			d.at(from, path, "such as "+example, "%q is no %s", text, strings.TrimPrefix(kind, "a "))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(node, v, path, wants)
	case reflect.Map:
		d.decodeMap(node, v, path, wants)
	case reflect.Slice:
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			wants("a list")
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
			wants("a string")
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
			wants("true or false")
			return
		}
		v.SetBool(b.Value)
	case reflect.Int:
		n, ok := node.(*ast.IntegerNode)
		if !ok {
			wants("a whole number")
			return
		}
		number, err := strconv.ParseInt(fmt.Sprint(n.Value), 10, 32)
		if err != nil {
			d.at(from, path, "", "%v is out of range", n.Value)
			return
		}
		v.SetInt(number)
	default:
		panic("labs: no YAML form for " + v.Type().String()) // a mistake in lab.go; every test meets it
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

func (d *decoder) decodeStruct(node ast.Node, v reflect.Value, path string, wants func(string)) {
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
		wants("a mapping")
		return
	}
	for _, e := range entries {
		if name, old := renamed[e.key]; old {
			e.key = d.renamed(e, path, name, entries)
		}
		at := join(path, e.key)
		i, ok := fields[e.key]
		if !ok {
			d.at(e.node, at, didYouMean(e.key, known), "no such field")
			d.told[join(path, nearest(e.key, known))] = true // no need to miss it as well
			continue
		}
		d.lines[at] = e.node.GetToken().Position.Line
		d.decode(e.value, v.Field(i), at)
	}
}

// decodeMap takes options: their values are whatever scalar the file has, as written.
func (d *decoder) decodeMap(node ast.Node, v reflect.Value, path string, wants func(string)) {
	entries, ok := d.entries(node, path)
	if !ok {
		wants("a mapping")
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
			d.at(e.value, at, "", "wants a string, not %s", describe(value))
		}
	}
}

// entry is one key of a mapping.
type entry struct {
	key   string
	node  ast.Node // the key itself
	value ast.Node
}

// entries lists a mapping's keys, in order, with merged mappings (<<) taken in: a key
// of the mapping's own goes before a merged one.
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
			d.at(it.Key(), path, "", "a key must be a plain word")
			continue
		}
		text, ok := stringOf(scalar)
		if !ok {
			text = scalar.GetToken().Value
		}
		e := entry{text, key, it.Value()}
		if i := slices.IndexFunc(own, func(o entry) bool { return o.key == e.key }); i >= 0 {
			d.at(key, join(path, e.key), "keep one of them", "given twice, first in line %d", own[i].node.GetToken().Position.Line)
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
		d.at(value, path, "", "<< wants a mapping, not %s", describe(node))
	}
	return entries
}

func (d *decoder) noAnchor(node ast.Node, path string) {
	name := strings.TrimPrefix(node.String(), "*")
	d.at(node, path, "anchor it with &"+name+" further up", "no anchor for *%s", name)
}

// toldAbove reports whether a field, or what holds it, has a problem already: then it
// counts as left out, so that one mistake makes one problem.
func (d *decoder) toldAbove(path string) bool {
	for ; path != ""; path = above(path) {
		if d.told[path] {
			return true
		}
	}
	return false
}

// lineOf gives the line of a field, or of the nearest thing around it that the file has.
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

// textForm names what a type that reads itself wants, and gives an example.
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
		return "the truth value " + n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + n.GetToken().Value
	}
	return strconv.Quote(node.GetToken().Value)
}
