package main

import (
	"go/build"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "netlab.dev/netlab"

// stages is the way that data flows: a package may import its own stage and earlier ones.
var stages = []string{"labs", "topology", "components", "providers", "verify", "cli", "."}

func stageOf(pkg string) int {
	first, _, _ := strings.Cut(pkg, "/")
	for i, s := range stages {
		if s == first {
			return i
		}
	}
	return -1
}

// apart lists packages that others of their own stage may not lean on in one direction.
var apart = []struct{ from, to, reason string }{
	{"topology", "topology/fabric", "deciding a plan is pure; only the fabric touches Linux"},
	{"providers", "providers/netns", "the contract must not know those who fulfil it; cli wires them"},
	{"providers", "providers/kubeadm", "the contract must not know how a cluster is bootstrapped"},
	{"verify/agent", "verify", "the agent runs alone in Pods and hosts; it must stay small"},
}

func TestImportDirection(t *testing.T) {
	packages := 0
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); dir != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		pkg, err := build.ImportDir(dir, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		}
		if err != nil {
			return err
		}
		packages++
		from := filepath.ToSlash(dir)
		if stageOf(from) < 0 {
			t.Errorf("%s is in no stage: add its folder to the flow of data (%s)", from, strings.Join(stages, " → "))
		}
		for _, imported := range pkg.Imports {
			if to, ours := strings.CutPrefix(imported, module+"/"); ours {
				checkImport(t, from, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if packages < 6 {
		t.Errorf("saw %d packages: run from the module's root", packages)
	}
}

func checkImport(t *testing.T, from, to string) {
	t.Helper()
	switch a, b := stageOf(from), stageOf(to); {
	case b < 0:
		t.Errorf("%s imports %s, which is in no stage", from, to)
	case b > a:
		t.Errorf("%s imports %s: data flows %s and imports never turn back, so that each stage "+
			"can be read, tested and printed without those after it", from, to, strings.Join(stages, " → "))
	}
	for _, rule := range apart {
		if path.Clean(from) == rule.from && to == rule.to {
			t.Errorf("%s imports %s: %s", from, to, rule.reason)
		}
	}
}
