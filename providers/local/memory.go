package local

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"netlab.dev/netlab/labs"
)

// Memory gives what the processes of a machine hold by its cgroup, page cache left out, in
// bytes; false where no hierarchy counts memory.
func Memory(lab labs.Name, machine string) (int64, bool) {
	for _, dir := range cgroupDirs(CgroupOf(lab, machine)) {
		data, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
		if err != nil {
			continue
		}
		// v1 counts those below it in total_rss; v2 has anon, and counts them always.
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
