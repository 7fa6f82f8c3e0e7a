package local

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory gives what the processes of the cgroup /netlab/<name> hold, page cache left out,
// in bytes; false where no hierarchy counts memory.
func Memory(name string) (int64, bool) {
	for _, dir := range CgroupDirs(name) {
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
