// Package bench times real labs and compares netlab with kind and with iperf3. It asserts no
// figures: `make bench` prints them, and docs/benchmarks.md keeps them.
package bench

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/compare"
)

// BenchmarkLab times the life of a lab with everything built: up (and its steps, by
// their progress lines), an up that finds nothing to do, verify, down; and what memory
// its Nodes hold. It asserts no time.
func BenchmarkLab(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs require root")
	}
	l := newBenchLab(b, "quickstart")
	l.run("build", l.file)
	b.Cleanup(func() { l.run("down", l.name) })
	b.ResetTimer()
	for range b.N {
		l.life()
	}
	b.StopTimer()
	for _, name := range slices.Sorted(maps.Keys(l.sums)) {
		b.ReportMetric(l.sums[name]/float64(b.N), name)
	}
}

// BenchmarkCNIs times one life of a lab with every CNI in every mode, side by side.
func BenchmarkCNIs(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs require root")
	}
	l := newBenchLab(b, "cni-matrix")
	sums := map[string]float64{}
	b.ResetTimer()
	for range b.N {
		out, _ := l.output("compare", l.file, "-o", "json")
		all, err := compare.Parse(out)
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		for _, one := range all.Runs {
			lab := all.Variants[one.Variant].Lab.String()
			if one.Error != "" {
				b.Fatalf("%s: %s", lab, one.Error)
			}
			sums[lab+"/up-s"] += one.UpSeconds
			sums[lab+"/verify-s"] += one.VerifySeconds
			sums[lab+"/down-s"] += one.DownSeconds
			sums[lab+"/node-MB"] += float64(one.NodeBytes) / 1e6
			sums[lab+"/policy-s"] += one.Report.PolicySeconds()
		}
	}
	b.StopTimer()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		b.ReportMetric(sums[name]/float64(b.N), name)
	}
}

// newBenchLab builds the netlab that users get.
func newBenchLab(b *testing.B, scenario string) *benchLab {
	dir := b.TempDir()
	program := filepath.Join(dir, "netlab")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "netlab.dev/netlab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return &benchLab{b: b, program: program, state: filepath.Join(dir, "state"), file: filepath.Join("..", "scenarios", scenario+".yaml"), name: scenario}
}

// BenchmarkBuilds reports what each component took when it was built into this cache.
func BenchmarkBuilds(b *testing.B) {
	out, err := exec.Command("go", "run", "netlab.dev/netlab", "components", "-o", "json").Output()
	if err != nil {
		b.Fatal(err)
	}
	var all []struct {
		Name    string
		Seconds float64
	}
	if err := json.Unmarshal(out, &all); err != nil {
		b.Fatal(err)
	}
	for _, c := range all {
		if c.Seconds > 0 {
			b.ReportMetric(c.Seconds, c.Name+"-s")
		}
	}
}

type benchLab struct {
	b                          *testing.B
	program, state, file, name string
	env                        []string           // besides the machine's
	sums                       map[string]float64 // of seconds or bytes, by unit
}

var stepLine = regexp.MustCompile(`^✓ (.+?)\s+([0-9.]+)s$`)

// life creates, verifies and removes one lab.
func (l *benchLab) life() {
	if l.sums == nil {
		l.sums = map[string]float64{}
	}
	for _, line := range l.timed("up", "up", l.file) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			seconds, _ := strconv.ParseFloat(m[2], 64)
			name, _, _ := strings.Cut(m[1], ":")
			l.sums["up/"+strings.ReplaceAll(name, " ", "-")+"-s"] += seconds
		}
	}
	l.sums["node-MB"] += l.nodeBytes() / 1e6
	l.timed("up-noop", "up", l.file)
	l.timed("verify", "verify", l.name)
	l.timed("verify-evidence", "verify", l.name, "--evidence")
	l.timed("down", "down", l.name)
}

// timed runs netlab, adds its seconds to the sums, and returns its progress.
func (l *benchLab) timed(name string, args ...string) []string {
	began := time.Now()
	lines := l.run(args...)
	l.sums[name+"-s"] += time.Since(began).Seconds()
	return lines
}

// run runs netlab and returns its progress.
func (l *benchLab) run(args ...string) []string {
	_, lines := l.output(args...)
	return lines
}

// nodeBytes is the mean of what the lab's Nodes hold.
func (l *benchLab) nodeBytes() float64 {
	out, _ := l.output("status", l.name, "-o", "json")
	var s struct {
		Machines []struct{ MemoryBytes float64 }
	}
	if err := json.Unmarshal(out, &s); err != nil {
		l.b.Fatal(err)
	}
	sum, nodes := 0.0, 0.0
	for _, m := range s.Machines {
		if m.MemoryBytes > 0 {
			sum, nodes = sum+m.MemoryBytes, nodes+1
		}
	}
	if nodes == 0 {
		l.b.Fatalf("lab %s: no Node's memory is counted", l.name)
	}
	return sum / nodes
}

func (l *benchLab) output(args ...string) (stdout []byte, stderrLines []string) {
	l.b.Helper()
	cmd := exec.Command(l.program, args...)
	cmd.Env = append(append(os.Environ(), "NETLAB_STATE_DIR="+l.state), l.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.b.Fatalf("netlab %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(stderr.String())); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return out, lines
}
