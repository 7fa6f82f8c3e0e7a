package local

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"netlab.dev/netlab/labs"
)

// Memory returns the memory of a machine's processes in bytes, by its cgroup and without page
// cache; false if no hierarchy accounts memory.
func Memory(lab labs.Name, machine string) (int64, bool) {
	for _, dir := range cgroupDirs(CgroupOf(lab, machine)) {
		data, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
		if err != nil {
			continue
		}
		// v1 includes child cgroups in total_rss; v2 has anon, which always includes them.
		for line := range strings.Lines(string(data)) {
			field, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if field == "total_rss" || field == "anon" {
				bytes, err := strconv.ParseInt(value, 10, 64)
				return bytes, err == nil
			}
		}
	}
	return 0, false
}
