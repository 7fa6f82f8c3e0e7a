package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// clearsEarlier ends agents that netlab started on outside hosts before these were machines.
const clearsEarlier = "providers/local/host.go"

// A command line of a later stage is an import in disguise: before verify nothing starts or
// runs an agent's verbs. How a service of a machine is started is data in components/.
func TestCommandLines(t *testing.T) {
	found := map[string]bool{}
	for name, pkg := range modulePackages(t) {
		if stage, _, _ := strings.Cut(name, "/"); !slices.Contains([]string{"labs", "topology", "components", "artifacts", "providers"}, stage) {
			continue
		}
		for _, file := range pkg.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					found[name+"/"+file] = found[name+"/"+file] || asksAgent(n.Elts)
				case *ast.CallExpr:
					found[name+"/"+file] = found[name+"/"+file] || asksAgent(n.Args)
				}
				return true
			})
		}
	}
	if len(found) < 50 {
		t.Fatalf("read %d files", len(found))
	}
	for file, asks := range found {
		if asks != (file == clearsEarlier) {
			t.Errorf("%s spells out a command line of the agent: %t, want %t", file, asks, !asks)
		}
	}
}

// asksAgent: among expressions stand "agent" and one of its verbs, one after the other.
func asksAgent(list []ast.Expr) bool {
	for i := range len(list) - 1 {
		first, _ := list[i].(*ast.BasicLit)
		then, _ := list[i+1].(*ast.BasicLit)
		if first != nil && then != nil && first.Value == `"agent"` && slices.Contains([]string{`"serve"`, `"probe"`, `"capture"`}, then.Value) {
			return true
		}
	}
	return false
}
