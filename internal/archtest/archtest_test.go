// Package archtest asserts which packages of this module import which others: a table of
// rules, which a test compares with the source. It leaves style to the linters.
package archtest

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "netlab.dev/netlab"
	root   = "../.."
)

// A rule lists what the packages of a pattern may import of this module, besides packages
// below themselves. A pattern is a package, or a folder and everything in it ("verify/...").
type rule struct {
	packages string
	imports  []string
	because  string
}

// leaves are what several stages share: each does one thing that has nothing to do with labs.
var leaves = []string{"internal/atomicfile", "internal/hint", "internal/kube", "internal/lockfile", "internal/procfs", "internal/regular", "internal/shell", "internal/unixhttp"}

// rules holds, in the order in which data flows, one rule for each package. The first rule
// whose pattern matches a package is its rule.
//
//	labs → topology → components → artifacts → providers → verify → internal/engine → cli → main
func rules() []rule {
	stage := func(more ...string) []string { return append(slices.Clone(leaves), more...) }
	return []rule{
		{"internal/archtest", nil, "it reads source and runs none of it"},
		{"internal/engine/...", stage("labs", "topology/...", "components", "components/cloud/balancer", "manifests", "exercises", "artifacts/...", "providers/...", "verify/...", "compare"),
			"use cases take and return values: flags, printing and exit codes are cli's"},
		{"internal/...", leaves, "what several stages share must not know any of them"},

		{"labs/labstest", stage("labs"), "a catalogue for tests of labs, without the components"},
		{"labs/...", stage("labs"), "a lab file is read and validated without knowing how it is made"},

		{"topology/fabric/residue", leaves, "what a lab left is found by looking at the machine, not by asking netlab"},
		{"topology/fabric/...", stage("labs", "topology"), "the fabric is made from a Plan and from nothing later"},
		{"topology", stage("labs"), "deciding a Plan is pure: only topology/fabric touches Linux"},
		{"topology/...", stage("labs", "topology"), "deciding and drawing a Plan is pure: only topology/fabric touches Linux"},

		{"components", stage("labs", "topology"), "the catalogue is data: which versions a Plan resolves to, before anything is obtained"},
		{"manifests", stage("labs", "components"), "the user's objects are read without knowing the lab that they are for"},
		{"exercises", stage("labs", "topology", "manifests"), "an exercise is read and recorded without breaking anything"},
		{"components/outside-dns/...", leaves, "a program that runs alone on a host: it must stay small"},
		{"components/cloud/balancer", leaves, "a program that runs alone on a host: it must stay small"},
		{"components/cloud/controller", stage("components/cloud/balancer"), "a cloud controller knows a cluster and a load balancer, and no lab"},
		{"artifacts/bundle", leaves, "the format of a bundle, whatever it holds"},
		{"artifacts/modules", leaves, "files are taken out of modules without knowing what they are for"},
		{"artifacts/registry", leaves, "images are pulled without knowing what they are for"},
		{"artifacts", stage("labs", "topology", "components"), "software is obtained for a Set, whichever provider runs it"},

		{"providers/command", leaves, "runs a command of this machine, for whoever does that"},
		{"providers/kubeconfig", stage("labs"), "edits a kubeconfig, whoever made the cluster"},
		{"providers/pid1", leaves, "it is PID 1 of a Node: it must stay small"},
		{"providers/kubeadm", stage("labs", "topology", "components", "artifacts", "providers/command"),
			"how a cluster is bootstrapped is the same on every provider"},
		{"providers/providertest", stage("labs", "topology/...", "components", "artifacts", "providers", "providers/command", "providers/kubeadm", "verify/..."),
			"the conformance suite must not know the providers that it tests"},
		{"providers/netns/...", provider("netns"), "providers do not know each other: what two of them need is providers/local"},
		{"providers/kind/...", provider("kind"), "providers do not know each other: what two of them need is providers/local"},
		{"providers/libvirt/...", provider("libvirt"), "providers do not know each other: what two of them need is providers/local"},
		{"providers/local/...", stage("labs", "topology/...", "components", "artifacts", "providers", "providers/command", "providers/kubeadm", "providers/local", "providers/pid1"),
			"what providers share on this machine must not know which provider it is for"},
		{"providers/applied", stage(), "what was applied is compared without knowing who applied it"},
		{"providers", stage("labs", "topology", "components", "artifacts", "providers/applied", "providers/command"),
			"the contract must not know who fulfils it, nor how a cluster is bootstrapped"},

		{"verify/frr", leaves, "what FRR says is read without knowing who asked it"},
		{"verify/agent", stage("labs", "components/cloud/balancer", "verify/frr"), "the agent runs alone in Pods and on hosts: it must stay small"},
		{"verify/trace", stage("labs", "topology", "components", "verify/agent"), "packets are read without knowing what is expected of a path"},
		{"verify/report/...", stage("labs", "topology/...", "verify/agent", "verify/trace", "verify/report"),
			"a report is shown without asking an agent or the cluster, and knows no path by its id"},
		{"verify/plantest", stage("labs", "labs/labstest", "topology", "components"), "plans for tests, which verify nothing"},
		{"verify/workload", stage("labs", "topology", "components", "verify/agent"), "objects are made from a Plan, whatever they are for"},
		{"verify/observe/observetest", stage("topology", "components", "components/cloud/balancer", "verify/agent", "verify/frr", "verify/checks", "verify/observe", "verify/workload"),
			"a cluster for tests, in which every path is as expected"},
		{"verify/observe", stage("labs", "topology", "components", "verify/agent", "verify/report", "verify/workload"),
			"the cluster is read without judging it"},
		{"verify/checks", stage("labs", "topology", "components", "components/cloud/balancer", "verify/agent", "verify/report", "verify/workload", "verify/observe"),
			"answers are judged without asking for them"},
		{"verify/verifytest", stage("verify/..."), "what tests of labs assert of a report"},
		{"verify/run", stage("labs", "topology", "components", "providers", "verify/agent", "verify/checks", "verify/observe", "verify/report", "verify/trace", "verify/workload"),
			"a lab is verified in the same way whichever provider runs it"},

		{"compare", stage("labs", "verify/report"), "results are compared without making a lab or reading a file, and no path is known by its id"},

		// cli/parts.go starts what netlab is inside a lab: PID 1, agents, helpers of providers.
		{"cli/...", []string{"internal/...", "labs", "topology", "topology/drawing", "compare", "components/...", "exercises", "artifacts", "providers/...", "verify/agent", "verify/checks", "verify/report/...", "verify/run"},
			"a verb is flags and printing: the stages meet in internal/engine"},
		{"pulumi/pulumi-resource-netlab", stage("cli", "internal/engine", "pulumi"), "the plugin is the provider with the parts that every netlab contains"},
		{"pulumi", stage("internal/engine", "labs", "topology", "components", "artifacts", "providers", "verify/checks", "verify/report"),
			"resources are what verbs are to the command line: the stages meet in internal/engine"},
		{"e2e/...", stage("labs", "labs/labstest", "exercises", "topology/...", "components", "artifacts", "providers/...", "verify/...", "compare"), "end-to-end tests run the program that users run"},
		{"bench/...", stage("labs", "topology/...", "components", "artifacts", "providers/...", "verify/...", "compare"), "benchmarks time the program that users run"},
		{".", []string{"cli"}, "main only starts the command line"},
	}
}

// provider is what one provider may import (the conformance suite: its test support only).
func provider(name string) []string {
	return append(slices.Clone(leaves), "labs", "topology/...", "components", "artifacts", "providers", "providers/command",
		"providers/kubeadm", "providers/local/...", "providers/pid1", "providers/providertest", "providers/"+name+"/...")
}

func TestImports(t *testing.T) {
	packages := modulePackages(t)
	if len(packages) < 20 {
		t.Fatalf("found %d packages below %s", len(packages), root)
	}
	for name, pkg := range packages {
		r := ruleOf(name)
		if r == nil {
			t.Errorf("package %s has no rule: add one to rules() in internal/archtest/archtest_test.go "+
				"that says what it may import and why, at its place in the flow of data", name)
			continue
		}
		imports := pkg.Imports
		if len(pkg.GoFiles) == 0 { // only tests: e2e, bench
			imports = slices.Concat(pkg.TestImports, pkg.XTestImports)
		} else {
			checkTestSupport(t, name, imports)
		}
		for _, imported := range imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if ours && !below(name, to) && !slices.ContainsFunc(r.imports, func(p string) bool { return matches(p, to) }) {
				t.Errorf("%s imports %s: %s (the rule for %s in internal/archtest)", name, to, r.because, r.packages)
			}
		}
	}
}

// Whoever does not use Pulumi does not carry its SDK: it would make netlab a quarter larger.
func TestPulumiIsApart(t *testing.T) {
	for name, pkg := range modulePackages(t) {
		if matches("pulumi/...", name) || matches("e2e/pulumi/...", name) {
			continue
		}
		for _, imported := range pkg.Imports {
			if strings.HasPrefix(imported, "github.com/pulumi/") {
				t.Errorf("%s imports %s: only packages below pulumi do", name, imported)
			}
		}
	}
}

// checkTestSupport checks that packages that import "testing" are not part of the program.
func checkTestSupport(t *testing.T, name string, imports []string) {
	t.Helper()
	if strings.HasSuffix(name, "test") {
		return
	}
	for _, imported := range imports {
		if imported == "testing" || strings.HasPrefix(imported, module+"/") && strings.HasSuffix(imported, "test") {
			t.Errorf("%s imports %s: only tests, and packages named …test, import test support", name, imported)
		}
	}
}

// Each rule is about a package that exists, or it was left behind when the package went.
func TestRulesAreUsed(t *testing.T) {
	used := map[string]bool{}
	for name := range modulePackages(t) {
		if r := ruleOf(name); r != nil {
			used[r.packages] = true
		}
	}
	for _, r := range rules() {
		if !used[r.packages] && !strings.HasPrefix(r.packages, "internal/") {
			t.Errorf("the rule for %s is for no package", r.packages)
		}
	}
}

// modulePackages are all packages of the module, by their paths in it.
func modulePackages(t *testing.T) map[string]*build.Package {
	t.Helper()
	packages := map[string]*build.Package{}
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if n := d.Name(); dir != root && (strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_") || n == "testdata" || n == "bin") {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && dir != root {
			return filepath.SkipDir // another module
		}
		pkg, err := build.ImportDir(dir, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, dir)
		packages[filepath.ToSlash(name)] = pkg
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func ruleOf(pkg string) *rule {
	for _, r := range rules() {
		if matches(r.packages, pkg) {
			return &r
		}
	}
	return nil
}

func matches(pattern, pkg string) bool {
	folder, all := strings.CutSuffix(pattern, "/...")
	return pkg == folder || all && below(folder, pkg)
}

func below(folder, pkg string) bool { return strings.HasPrefix(pkg, folder+"/") }
