package local

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCgroup2Needs(t *testing.T) {
	const all = "cpuset cpu io memory hugetlb pids rdma misc\n"
	dir := filepath.Join(t.TempDir(), "cgroup")
	busy := "the cgroup at " + dir + " has processes in it, so its controllers cannot be enabled for the Nodes' cgroups"
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"cgroup v1":                  {nil, nil},
		"the kernel's root":          {map[string]string{"cgroup.controllers": all, "cgroup.subtree_control": "\n", "cgroup.procs": "1\n2\n"}, nil},
		"without memory":             {map[string]string{"cgroup.controllers": "cpuset cpu io pids\n"}, []string{"cgroup v2 controller memory is not available"}},
		"a container's root":         {map[string]string{"cgroup.controllers": all, "cgroup.type": "domain\n", "cgroup.procs": "1\n"}, []string{busy}},
		"a container's root, parted": {map[string]string{"cgroup.controllers": all, "cgroup.type": "domain\n", "cgroup.procs": ""}, nil},
		"a container's root that hands down": {map[string]string{"cgroup.controllers": all, "cgroup.type": "domain\n", "cgroup.procs": "0\n",
			"cgroup.subtree_control": all}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, n := range cgroup2Needs(dir) {
				if !n.met {
					got = append(got, n.what)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
