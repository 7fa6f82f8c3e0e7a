package labs

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
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
			d.at(from, path, "for example "+example, "%q is not a valid %s", text, strings.TrimPrefix(strings.TrimPrefix(kind, "a "), "an "))
		}
		return
	}
	if m, ok := v.Addr().Interface().(*Manifest); ok {
		if text, is := stringOf(node); is && text != "" {
			m.Path = text
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(from, v.Elem(), path)
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
		if n, number := node.(*ast.IntegerNode); number && v.Type() == reflect.TypeFor[Expectation]() {
			text, ok = n.GetToken().Value, true // an HTTP status
		}
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
	case reflect.Uint32:
		n, ok := node.(*ast.IntegerNode)
		if !ok {
			mismatch("an integer")
			return
		}
		number, err := strconv.ParseUint(fmt.Sprint(n.Value), 10, 32)
		if err != nil {
			d.at(from, path, "", "%v is out of range", n.Value)
			return
		}
		v.SetUint(number)
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
	known, fields, renamed := fieldsOf(v)
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
		d.lines[at] = e.node.GetToken().Position.Line
		field, ok := fields[e.key]
		if !ok {
			d.locate(e.value, at)
			d.at(e.node, at, DidYouMean(e.key, known), "unknown field")
			d.reported[join(path, Nearest(e.key, known))] = true // so that it is not reported as missing too
			continue
		}
		d.decode(e.value, field, at)
	}
}

// fieldsOf returns the fields that a mapping may have for a struct: their names in order, their
// values, and the new names of renamed ones. Those of a Lab include the sections of providers.
func fieldsOf(v reflect.Value) (known []string, fields map[string]reflect.Value, renamed map[string]string) {
	fields, renamed = map[string]reflect.Value{}, map[string]string{}
	for i := range v.NumField() {
		if sections, ok := v.Field(i).Interface().(map[string]Settings); ok {
			for _, provider := range names(sections) {
				known = append(known, provider)
				fields[provider] = reflect.ValueOf(sections[provider]).Elem()
			}
			continue
		}
		tag := v.Type().Field(i).Tag
		name, _, _ := strings.Cut(tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		known = append(known, name)
		fields[name] = v.Field(i)
		if was := tag.Get("was"); was != "" {
			renamed[was] = name
		}
	}
	return known, fields, renamed
}

// locate records the lines of fields that are not decoded, such as a section in a file that is
// read only for its lines.
func (d *decoder) locate(node ast.Node, path string) {
	switch n := d.follow(node).(type) {
	case ast.MapNode:
		for it := n.MapRange(); it.Next(); {
			at := join(path, it.Key().GetToken().Value)
			d.lines[at] = it.Key().GetToken().Position.Line
			d.locate(it.Value(), at)
		}
	case *ast.SequenceNode:
		for i, item := range n.Values {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.lines[at] = item.GetToken().Position.Line
			d.locate(item, at)
		}
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

// reportedBelow reports whether a field, or one below it, has a problem.
func (d *decoder) reportedBelow(path string) bool {
	for reported := range d.reported {
		if strings.HasPrefix(reported, path) {
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
	case reflect.TypeFor[Percent]():
		return "a percentage", "1% or 0.5%"
	}
	if t == reflect.TypeFor[netip.Addr]() {
		return "an IP address", "172.30.0.1"
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
