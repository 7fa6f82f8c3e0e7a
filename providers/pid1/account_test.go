package pid1

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCPUHierarchy(t *testing.T) {
	const v2 = "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	for _, c := range []struct{ name, mounts, want string }{
		{"v1 with an empty v2", v2 + "31 24 0:27 / /sys/fs/cgroup/cpu rw,nosuid shared:7 - cgroup cgroup rw,cpu,cpuacct\n", "/sys/fs/cgroup/cpu"},
		{"v2", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n", "/sys/fs/cgroup"},
		{"v1 without", "31 24 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n", ""},
	} {
		file := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(file, []byte(c.mounts), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := cpuHierarchy(file); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
