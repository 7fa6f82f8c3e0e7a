package labs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	maxNesting = 100

	maxFile = 64 << 10 // bytes; no lab file is larger, and the parser is slow on hostile input
	maxUses = 10_000   // limit of resolved aliases and merged keys: nested ones multiply, so a small file can expand to a large one
)

// parse returns the root node of the only document in a YAML file, or the problem that
// prevents it.
func parse(data []byte) (root ast.Node, problem *Problem) {
	if line := nestsTooDeep(data); line > 0 {
		return nil, &Problem{Line: line, What: fmt.Sprintf("nests more than %d lists and mappings", maxNesting)}
	}
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

// nestsTooDeep returns the line in which lists and mappings nest deeper than maxNesting within
// lines, 0 if none does: the parser takes gigabytes and minutes for such a file. Nesting by
// indentation is bounded by maxFile. Brackets in texts count too; they are balanced, or few.
func nestsTooDeep(data []byte) int {
	depth := 0
	for i, line := range bytes.Split(data, []byte("\n")) {
		entries := 0
		for rest := bytes.TrimLeft(line, " "); len(rest) > 1 && (rest[0] == '-' || rest[0] == '?') && rest[1] == ' '; rest = bytes.TrimLeft(rest[1:], " ") {
			entries++
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
			if depth+entries > maxNesting {
				return i + 1
			}
		}
	}
	return 0
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
