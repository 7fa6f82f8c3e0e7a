package netns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// Check implements providers.Provider: root, and what every lab takes from the kernel.
func (p Provider) Check(_ context.Context, plan topology.Plan) error {
	if os.Geteuid() != 0 {
		return providers.WithHint(errors.New("namespace Nodes take root, and this is not root"), "run netlab with sudo, or as root")
	}
	return local.Check(plan)
}

// KernelHas implements providers.KernelSharer.
func (Provider) KernelHas(option, module string) bool { return local.KernelHas(option, module) }

// Inspect implements providers.Inspector.
func (p Provider) Inspect(ctx context.Context, state providers.State, dir string) error {
	return local.Inspect(ctx, state, dir)
}

// Find implements providers.Finder: labs are known by their pinned namespaces, their
// cgroups and their processes' label.
func (p Provider) Find() ([]string, error) {
	var labs []string
	pins, _ := filepath.Glob("/run/netns/netlab.*")
	for _, pin := range pins {
		labs = append(labs, strings.Split(filepath.Base(pin), ".")[1])
	}
	for _, dir := range local.CgroupDirs("") {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				labs = append(labs, e.Name())
			}
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, proc := range procs {
		env, _ := os.ReadFile(proc)
		for _, v := range local.SplitZero(env) {
			if lab, ok := strings.CutPrefix(v, local.LabelKey+"="); ok && lab != "" {
				labs = append(labs, lab)
			}
		}
	}
	slices.Sort(labs)
	return slices.Compact(labs), nil
}
