package providertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/command"
)

// writeImages has root in a Node write to a file of every image that it started with, and prints
// each file whose content then differs.
const writeImages = `cd /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots
n=0
for dir in *; do
	file=$(find "$dir/fs/" -type f -size +0 2>/dev/null | head -n 1)
	[ -n "$file" ] || continue
	n=$((n+1))
	before=$(cksum <"$file")
	{ printf x >>"$file"; } 2>/dev/null
	rm -f "$file" 2>/dev/null
	[ "$(cksum <"$file" 2>/dev/null)" = "$before" ] || echo "$file"
	[ $n -lt 20 ] || break
done
[ $n -gt 0 ] || echo "no file found"`

// images: what root in a Node writes to the images that it shares with other labs reaches neither
// the cache nor another Node.
func (l *lab) images(t *testing.T) {
	store := func() string {
		var all strings.Builder
		for _, dir := range []string{l.artifacts.Store, filepath.Join(l.dir, "images")} {
			err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
				if err == nil && info.Mode().IsRegular() {
					all.WriteString(path + " " + info.ModTime().String() + "\n")
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all.String()
	}
	before := store()
	for _, m := range l.plan.Nodes() {
		out, err := command.Run(l.running.Machines[m.Name].Command(t.Context(), "sh", "-c", writeImages))
		if err != nil || len(out) > 0 {
			t.Errorf("Node %s changed files of its images: %s (%v)", m.Name, out, err)
		}
	}
	if after := store(); after != before {
		t.Errorf("images of the cache or the lab have changed: were\n%s\nare\n%s", before, after)
	}
}
