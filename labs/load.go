package labs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// Check finds problems that only a later stage can detect, such as a network with too few
// addresses. It returns them by field; Load adds the lines. Its argument may have problems
// that are already reported; a Check must not repeat them.
type Check func(Lab) Problems

// Load decodes a lab file strictly, sets defaults and validates it. The filename is for
// messages only. The error is Problems, with every error found.
func Load(filename string, data []byte, known Known, checks ...Check) (Lab, error) {
	lab, problems := load(data, known, checks)
	if err := problems.in(filename); err != nil {
		return Lab{}, err
	}
	return lab, nil
}

func load(data []byte, known Known, checks []Check) (Lab, Problems) {
	lab := Lab{Sections: known.sections()}
	d, problems := decode(data, Kind, &lab)
	if d == nil {
		return Lab{}, problems
	}
	lab.respell()
	lab.fill(known)
	v := validator{lab: lab, known: known}
	v.has = func(path string) bool { return d.lines[path] > 0 }
	v.reported = func(path string) bool { return d.reportedBelow(path) || d.reportedAbove(path) }
	v.validate(checks)
	for _, p := range v.problems {
		if !d.reportedAbove(p.Field) {
			p.Line = d.lineOf(p.Field)
			d.problems = append(d.problems, p)
		}
	}
	return lab, d.problems
}

// readLimit bounds the wait for a lab file that is a pipe.
const readLimit = 10 * time.Second

// ReadFile reads a lab file, which may be a pipe: at most what Load accepts and a byte more, and
// for at most readLimit.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO without a writer is empty
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(readLimit)) // an ordinary file has none and needs none
	return io.ReadAll(io.LimitReader(f, maxFile+4))  // a byte order mark does not count
}

// decode reads a file of a kind strictly into what out points to. Without a decoder the
// problems are final; with one, more may be added to it.
func decode(data []byte, kind string, out any) (*decoder, Problems) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > maxFile:
		return nil, Problems{{Line: 1, What: fmt.Sprintf("exceeds %d KiB, the size limit of %s", maxFile>>10, fileOf(kind))}}
	case !utf8.Valid(data):
		return nil, Problems{{Line: 1, What: "is not valid UTF-8"}}
	}
	root, problem := parse(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	if root == nil {
		required := " and kind: " + kind
		if kind == Kind {
			required = ", kind: " + Kind + " and metadata: {name: …}"
		}
		return nil, Problems{{Line: 1, What: "is empty", Hint: fileOf(kind) + " requires apiVersion: " + APIVersion + required}}
	}
	d := &decoder{lines: map[string]int{}, reported: map[string]bool{}, anchors: map[*ast.AliasNode]ast.Node{}}
	if foreign := d.foreign(root, kind); foreign != nil {
		return nil, foreign
	}
	d.resolve(root, map[string]ast.Node{})
	d.decode(root, reflect.ValueOf(out).Elem(), "")
	if d.uses > maxUses {
		return nil, Problems{{Line: 1, What: fmt.Sprintf("follows more than %d aliases and merged keys", maxUses)}}
	}
	if _, ok := d.follow(root).(ast.MapNode); !ok {
		return nil, d.problems // nothing was decoded
	}
	return d, d.problems
}

// foreign detects a file of another tool by its header, so that it gets one clear
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
		for _, header := range []struct{ key, value string }{{"apiVersion", APIVersion}, {"kind", kind}} {
			text, isString := stringOf(it.Value())
			if key == "kind" && isString && text == KindMatrix && kind == Kind {
				problems = append(problems, Problem{Line: it.Key().GetToken().Position.Line, Field: key,
					What: "is Matrix, a list of lab files, not Lab", Hint: "use `netlab compare FILE`"})
			} else if key == header.key && isString && text != header.value {
				problems = append(problems, Problem{Line: it.Key().GetToken().Position.Line, Field: key,
					What: fmt.Sprintf("%q is not supported", text),
					Hint: fmt.Sprintf("%s requires %s: %s", fileOf(kind), key, header.value)})
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
		What: "is a topology file of ipSpace netlab, another tool with the same name",
		Hint: "a lab file of this netlab requires apiVersion: " + APIVersion}}
}
