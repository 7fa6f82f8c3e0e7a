package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// starts are how many times netlab is started for one figure: one start is short.
const starts = 20

// BenchmarkStart times netlab's own start, the mean of some: `netlab version`, and `netlab plan` of
// quickstart, which reads the catalog, resolves the lab and looks into the cache. It reports the size
// of the program too.
func BenchmarkStart(b *testing.B) {
	l := newBenchLab(b, "quickstart")
	info, err := os.Stat(l.program)
	if err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{{"version"}, {"plan", l.file}} {
		b.Run(args[0], func(b *testing.B) {
			var cpu time.Duration
			for range b.N * starts {
				cmd := exec.Command(l.program, args...)
				cmd.Env = append(os.Environ(), "NETLAB_STATE_DIR="+l.state)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("netlab %s: %v\n%s", args[0], err, out)
				}
				cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			n := float64(b.N * starts)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(b.Elapsed().Seconds()*1e3/n, "wall-ms")
			b.ReportMetric(cpu.Seconds()*1e3/n, "cpu-ms")
			b.ReportMetric(float64(info.Size()), "program-bytes")
		})
	}
}
