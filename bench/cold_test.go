package bench

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var coldBuild = flag.Bool("cold-build", false, "BenchmarkCold/build too: it compiles everything, for about 20 minutes on two cores")

// BenchmarkCold times quickstart, up and verified, of an empty cache: of a bundle, offline,
// and of builds with an empty Go cache. Writing the bundle is not timed, and may build first.
func BenchmarkCold(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs require root")
	}
	l := newBenchLab(b, "quickstart")
	b.Run("bundle", func(b *testing.B) {
		bundle := filepath.Join(b.TempDir(), "lab.bundle")
		l.run("bundle", "create", l.file, "-o", bundle)
		info, err := os.Stat(bundle)
		if err != nil {
			b.Fatal(err)
		}
		l.cold(b, []string{"up", "--offline", "--bundle", bundle, l.file})
		b.ReportMetric(float64(info.Size()), "bundle-bytes")
	})
	b.Run("build", func(b *testing.B) {
		if !*coldBuild {
			b.Skip("compiles everything: -cold-build runs it")
		}
		l.cold(b, []string{"up", l.file}, "NETLAB_SOURCES=build")
	})
}

// cold times a command that makes the lab, with empty caches of netlab's and of Go's.
func (l *benchLab) cold(b *testing.B, up []string, env ...string) {
	l.b = b
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		l.coldOnce(b, up, env)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "up-s")
}

// coldOnce removes what it made, also when it fails.
func (l *benchLab) coldOnce(b *testing.B, up, env []string) {
	cache, err := os.MkdirTemp("", "netlab-cold")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(cache)
	l.env = append(env, "NETLAB_CACHE_DIR="+filepath.Join(cache, "netlab"), "GOCACHE="+filepath.Join(cache, "build"), "GOMODCACHE="+filepath.Join(cache, "modules"))
	defer func() {
		l.run("down", l.name)
		l.env = nil
	}()
	b.StartTimer()
	l.run(up...)
	b.StopTimer()
}
