package main

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
)

// benchScenarios are the labs that are timed side by side.
var benchScenarios = []string{"quickstart"}

// BenchmarkLab times the life of a lab with everything built: up (and its steps, by
// their progress lines), an up that finds nothing to do, verify, down; and what memory
// its Nodes hold. It asserts no time.
func BenchmarkLab(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs take root")
	}
	dir := b.TempDir()
	program := filepath.Join(dir, "netlab")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, scenario := range benchScenarios {
		b.Run(scenario, func(b *testing.B) {
			l := benchLab{b: b, program: program, state: filepath.Join(dir, "state"), file: filepath.Join("scenarios", scenario+".yaml"), name: scenario}
			l.run("build", l.file)
			b.Cleanup(func() { l.run("down", scenario) })
			b.ResetTimer()
			for range b.N {
				l.life()
			}
			b.StopTimer()
			for _, name := range slices.Sorted(maps.Keys(l.sums)) {
				b.ReportMetric(l.sums[name]/float64(b.N), name)
			}
		})
	}
}

// BenchmarkBuilds reports what each component took when it was built into this cache.
func BenchmarkBuilds(b *testing.B) {
	out, err := exec.Command("go", "run", ".", "components", "-o", "json").Output()
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
	sums                       map[string]float64 // of seconds or bytes, by unit
}

var stepLine = regexp.MustCompile(`^✓ (.+?)\s+([0-9.]+)s$`)

// life is one lab from nothing to nothing.
func (l *benchLab) life() {
	if l.sums == nil {
		l.sums = map[string]float64{}
	}
	for _, line := range l.timed("up", l.file) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			seconds, _ := strconv.ParseFloat(m[2], 64)
			name, _, _ := strings.Cut(m[1], ":")
			l.sums["up/"+strings.ReplaceAll(name, " ", "-")+"-s"] += seconds
		}
	}
	l.sums["node-MB"] += nodeMemory(l.b, l.name) / 1e6
	l.timed("up", l.file, "noop")
	l.timed("verify", l.name)
	l.timed("down", l.name)
}

// timed runs a verb, adds its seconds to the sums, and gives its progress.
func (l *benchLab) timed(verb, arg string, label ...string) []string {
	began := time.Now()
	lines := l.run(verb, arg)
	name := strings.Join(append([]string{verb}, label...), "-")
	l.sums[name+"-s"] += time.Since(began).Seconds()
	return lines
}

func (l *benchLab) run(args ...string) []string {
	l.b.Helper()
	cmd := exec.Command(l.program, args...)
	cmd.Env = append(os.Environ(), "NETLAB_STATE_DIR="+l.state)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err != nil {
		l.b.Fatalf("netlab %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(stderr.String())); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

// nodeMemory gives the mean of what a lab's Nodes hold, page cache left out, in bytes.
func nodeMemory(b *testing.B, lab string) float64 {
	stats, _ := filepath.Glob("/sys/fs/cgroup/memory/netlab/" + lab + "/*/memory.stat") // v1
	field := "total_rss "
	if len(stats) == 0 {
		stats, _ = filepath.Glob("/sys/fs/cgroup/netlab/" + lab + "/*/memory.stat") // v2
		field = "anon "
	}
	if len(stats) == 0 {
		b.Fatalf("lab %s has no memory cgroups", lab)
	}
	sum := 0.0
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if value, ok := strings.CutPrefix(line, field); ok {
				bytes, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
				sum += bytes
			}
		}
	}
	return sum / float64(len(stats))
}
