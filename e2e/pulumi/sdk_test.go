package pulumi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/providers/providertest"
)

// sdks generates the SDKs by Pulumi's own generators, which check the schema first. It returns their
// directory.
func sdks(t *testing.T) string {
	t.Helper()
	build(t, "pulumi-resource-netlab", "codegen")
	text, err := exec.Command(filepath.Join(bin, "pulumi-resource-netlab"), "schema").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	schema := filepath.Join(dir, "schema.json")
	if err := os.WriteFile(schema, text, 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, filepath.Join(bin, "codegen"), schema, dir)
	return dir
}

// example builds the Go program of scenarios with the Go SDK, as the program bin/example. Its lab has
// the name lab.
func example(t *testing.T, sdks, lab string) {
	t.Helper()
	dir := filepath.Join(sdks, "example")
	if err := os.CopyFS(dir, os.DirFS("../../scenarios/pulumi/go")); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(dir, "main.go")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(main, bytes.ReplaceAll(text, []byte(nameGo), []byte(lab)), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "go", "mod", "edit", "-replace", "netlab.dev/pulumi-netlab/sdk/go=../go")
	tool(t, dir, "go", "build", "-o", filepath.Join(bin, "example"), ".")
}

// TestSDKs: Pulumi's own package accepts the schema, its generators make SDKs of it, and those of Go
// and TypeScript compile, Go's with the example. It makes no lab.
func TestSDKs(t *testing.T) {
	if testing.Short() && !providertest.Alone() {
		t.Skip("compiles Pulumi's generators and asks the registry of npm: not with -short")
	}
	dir := sdks(t)
	t.Run("TypeScript", func(t *testing.T) {
		dir := filepath.Join(dir, "nodejs")
		tool(t, dir, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
		tool(t, dir, "npm", "run", "build")
	})
	t.Run("Python", func(t *testing.T) {
		if _, err := os.Stat(filepath.Join(dir, "python/pulumi_netlab/lab.py")); err != nil {
			t.Error(err)
		}
	})
	t.Run("Go", func(t *testing.T) { example(t, dir, nameGo) })
}
