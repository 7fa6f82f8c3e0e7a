// Codegen checks the package schema of pulumi-resource-netlab by Pulumi's own rules, and generates
// the SDKs of Go, Python and TypeScript from it by Pulumi's own generators:
//
//	codegen SCHEMA DIR
//
// It is a module of its own: Pulumi's engine has ten times the dependencies of its SDK. The command
// `pulumi` itself, which tests run, is a tool of the same module.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	gogen "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: codegen SCHEMA DIR")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// tool is named in the first line of each generated file.
const tool = "netlab's pulumi/codegen"

func generate(file, dir string) error {
	spec, err := read(file)
	if err != nil {
		return err
	}
	sdks := map[string]func(*schema.Package) (map[string][]byte, error){
		"go": goModule,
		"nodejs": func(p *schema.Package) (map[string][]byte, error) {
			return nodejs.GeneratePackage(tool, p, nil, nil, false, nil)
		},
		"python": func(p *schema.Package) (map[string][]byte, error) { return python.GeneratePackage(tool, p, nil, nil) },
	}
	for language, sdk := range sdks {
		p, err := check(spec) // each generator adds its own language's settings
		if err != nil {
			return err
		}
		files, err := sdk(p)
		if err != nil {
			return fmt.Errorf("SDK for %s: %w", language, err)
		}
		if err := write(filepath.Join(dir, language), files); err != nil {
			return err
		}
	}
	return nil
}

// goModule is the Go SDK as a module, for programs that replace it by the directory.
func goModule(p *schema.Package) (map[string][]byte, error) {
	files, err := gogen.GeneratePackage(tool, p, nil)
	if err != nil {
		return nil, err
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this program does not know its modules")
	}
	const sdk = "github.com/pulumi/pulumi/sdk/v3"
	for _, m := range build.Deps {
		if m.Path == sdk {
			files["go.mod"] = fmt.Appendf(nil, "module netlab.dev/pulumi-netlab/sdk/go\n\ngo 1.26.6\n\nrequire %s %s\n", sdk, m.Version)
			return files, nil
		}
	}
	return nil, fmt.Errorf("module %s not found", sdk)
}

func read(file string) (spec schema.PackageSpec, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return spec, err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&spec); err != nil {
		return spec, fmt.Errorf("%s: %w", file, err)
	}
	return spec, nil
}

// check binds the schema, which validates it. Warnings are errors here.
func check(spec schema.PackageSpec) (*schema.Package, error) {
	p, diagnostics, err := schema.BindSpec(spec, schema.NewNullLoader(), schema.ValidationOptions{})
	if err != nil {
		return nil, err
	}
	var found []error
	for _, d := range diagnostics {
		found = append(found, fmt.Errorf("schema: %s: %s", d.Summary, d.Detail))
	}
	return p, errors.Join(found...)
}

func write(dir string, files map[string][]byte) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
