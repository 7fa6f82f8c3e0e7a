package pulumi

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSDKs: Pulumi's own package accepts the schema, its generators make SDKs of it, and those of Go
// and TypeScript compile. Go's compiles with the example, which is then run.
func TestSDKs(t *testing.T) {
	from := needs(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	schema, sdks := filepath.Join(t.TempDir(), "schema.json"), t.TempDir()
	text, err := exec.Command(filepath.Join(from.dir, "pulumi-resource-netlab"), "schema").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(schema, text, 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, filepath.Join(root, "pulumi/codegen"), "go", "run", ".", schema, sdks)

	t.Run("TypeScript", func(t *testing.T) {
		dir := filepath.Join(sdks, "nodejs")
		tool(t, dir, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
		tool(t, dir, "npm", "run", "build")
	})
	t.Run("Python", func(t *testing.T) {
		if _, err := os.Stat(filepath.Join(sdks, "python/pulumi_netlab/lab.py")); err != nil {
			t.Error(err)
		}
	})
	t.Run("Go", func(t *testing.T) {
		dir := filepath.Join(sdks, "example")
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "scenarios/pulumi/go"))); err != nil {
			t.Fatal(err)
		}
		tool(t, dir, "go", "mod", "edit", "-replace", "netlab.dev/pulumi-netlab/sdk/go=../go")
		tool(t, dir, "go", "build", "-o", filepath.Join(from.dir, "example"), ".")
		s := newStack(t, from)
		s.run(t, 0, "netlab", "down", "pulumi-go")
		t.Cleanup(func() { s.run(t, 0, "netlab", "down", "pulumi-go") })
		says(t, s.run(t, 0, "example"), "netlab:index:Verification", "fail:0", "kube-system", "4 deleted")
		if labs := s.run(t, 0, "netlab", "list", "-o", "json"); strings.Contains(labs, "pulumi-go") {
			t.Errorf("labs: %s", labs)
		}
	})
}

// TestYAMLExample: the program of scenarios/pulumi/yaml.
func TestYAMLExample(t *testing.T) {
	s := newStack(t, needs(t))
	text, err := os.ReadFile("../../scenarios/pulumi/yaml/Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "Pulumi.yaml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, "pulumi", "stack", "init", "example")
	t.Cleanup(func() { s.run(t, 0, "netlab", "down", "pulumi-yaml") })
	says(t, s.up(t, 0), "4 created", "0 fail, 0 broken")
	says(t, s.run(t, 0, "pulumi", "stack", "output"), "kubeconfig  [secret]")
	s.destroy(t)
}

// tool runs a program in a directory.
func tool(t *testing.T, dir string, argv ...string) {
	t.Helper()
	began := time.Now()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	t.Logf("%5.1f s  %s", time.Since(began).Seconds(), strings.Join(argv[:2], " "))
}
