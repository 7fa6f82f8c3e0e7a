package labs

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// Check finds problems that only a later stage can know of, such as a network with too few
// addresses. It gives them by field; Load adds the lines. The lab that it gets may have
// problems already, which are not its to repeat.
type Check func(Lab) Problems

// Load reads a lab file: strictly, with defaults filled in and everything checked.
// The filename is for messages only. The error is Problems with all that is wrong.
func Load(filename string, data []byte, known Known, checks ...Check) (Lab, error) {
	lab, problems := load(data, known, checks)
	if err := problems.in(filename); err != nil {
		return Lab{}, err
	}
	return lab, nil
}

func load(data []byte, known Known, checks []Check) (Lab, Problems) {
	var lab Lab
	d, problems := decode(data, Kind, &lab)
	if d == nil {
		return Lab{}, problems
	}
	lab.respell()
	lab.fill(known)
	v := validator{lab: lab, known: known}
	v.has = func(path string) bool { return d.lines[path] > 0 }
	v.told = func(path string) bool {
		for told := range d.told {
			if strings.HasPrefix(told, path) {
				return true
			}
		}
		return d.toldAbove(path)
	}
	v.validate(checks)
	for _, p := range v.problems {
		if !d.toldAbove(p.Field) {
			p.Line = d.lineOf(p.Field)
			d.problems = append(d.problems, p)
		}
	}
	return lab, d.problems
}

// decode reads a file of a kind strictly into what out points to. Without a decoder the
// problems are all that can be told of the file; with one they are its own so far.
func decode(data []byte, kind string, out any) (*decoder, Problems) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > maxFile:
		return nil, Problems{{Line: 1, What: fmt.Sprintf("is larger than %d KiB, so it is no lab file", maxFile>>10)}}
	case !utf8.Valid(data):
		return nil, Problems{{Line: 1, What: "is no UTF-8 text"}}
	}
	root, problem := parse(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	if root == nil {
		return nil, Problems{{Line: 1, What: "is empty",
			Hint: "a lab is at least apiVersion: " + APIVersion + ", kind: " + Kind + " and metadata: {name: …}"}}
	}
	d := &decoder{lines: map[string]int{}, told: map[string]bool{}, anchors: map[*ast.AliasNode]ast.Node{}}
	if foreign := d.foreign(root, kind); foreign != nil {
		return nil, foreign
	}
	d.resolve(root, map[string]ast.Node{})
	d.decode(root, reflect.ValueOf(out).Elem(), "")
	if d.uses > maxUses {
		return nil, Problems{{Line: 1, What: fmt.Sprintf("follows more than %d aliases", maxUses)}}
	}
	if _, ok := d.follow(root).(ast.MapNode); !ok {
		return nil, d.problems // nothing of it is a lab
	}
	return d, d.problems
}

// foreign tells a file of another tool by its header, so that it gets one clear
// problem instead of one for each of its fields.
func (d *decoder) foreign(root ast.Node, kind string) Problems {
	mapping, ok := root.(ast.MapNode)
	if !ok {
		return nil
	}
	values := map[string]ast.Node{}
	var problems Problems
	for it := mapping.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		values[key] = it.Value()
		for _, header := range []struct{ key, want string }{{"apiVersion", APIVersion}, {"kind", kind}} {
			text, isString := stringOf(it.Value())
			if key == "kind" && isString && text == KindMatrix && kind == Kind {
				problems = append(problems, Problem{Line: it.Key().GetToken().Position.Line, Field: key,
					What: "is a Matrix, which names labs", Hint: "`netlab compare FILE` makes them one after another"})
			} else if key == header.key && isString && text != header.want {
				problems = append(problems, Problem{Line: it.Key().GetToken().Position.Line, Field: key,
					What: fmt.Sprintf("%q is of another tool or another version", text),
					Hint: fmt.Sprintf("a lab file has %s: %s", key, header.want)})
			}
		}
	}
	if values["apiVersion"] != nil || values["kind"] != nil || values["metadata"] != nil {
		return problems
	}
	// https://netlab.tools/topology-reference/: a topology has nodes, as a mapping or a
	// list of names, and mostly links, a module or defaults.
	topology := slices.ContainsFunc([]string{"links", "module", "defaults", "addressing", "groups", "plugin", "topology"},
		func(key string) bool { return values[key] != nil })
	switch nodes := values["nodes"].(type) {
	case ast.MapNode:
		topology = true
	case *ast.SequenceNode:
		topology = topology || len(nodes.Values) > 0 && isScalar(nodes.Values[0])
	}
	if !topology {
		return nil
	}
	return Problems{{Line: root.GetToken().Position.Line,
		What: "is a topology of another tool called netlab (ipSpace's, for router labs)",
		Hint: "a lab file of this one begins with apiVersion: " + APIVersion}}
}
