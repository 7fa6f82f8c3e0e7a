package run

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/report"
)

// TestBenchstat: benchstat itself compares the measurements of two CNIs line by line, and
// distinguishes better from worse.
func TestBenchstat(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "benchstat")
	build := exec.Command("go", "build", "-o", program, "golang.org/x/perf/cmd/benchstat")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := []string{"-col", "/cni"}
	for i, cni := range []string{"flannel", "calico"} {
		r := sampled(t)
		r.CNI = report.CNI{Name: cni, Version: "v1"}
		for _, p := range r.Paths {
			if p.Throughput != nil {
				for k := range p.Throughput.Samples {
					p.Throughput.Samples[k] *= float64(1 + i)
				}
			}
		}
		var out bytes.Buffer
		if err := r.WriteBenchfmt(&out); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, cni+".txt")
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	text := string(out)
	if n, heads := strings.Count(text, "kubernetes: "), regexp.MustCompile(`│ +flannel +│ +calico +│`).FindAllString(text, -1); n != 1 || len(heads) != 8 {
		t.Errorf("%d tables and %d units, not one table with a column a CNI and eight units:\n%s", n, len(heads), text)
	}
	units := func(unit string) []string {
		from := regexp.MustCompile("│ +" + unit + " +│").FindStringIndex(text)
		if from == nil {
			return nil
		}
		table, _, _ := strings.Cut(text[from[1]:], "geomean")
		return regexp.MustCompile(`(?m)^(?:Throughput|Latency)/route=.*$`).FindAllString(table, -1)
	}
	rates, delays := units("bit/s"), units("p50-sec")
	if len(rates) != 21 || len(delays) != 10 {
		t.Errorf("%d rates and %d delays:\n%s", len(rates), len(delays), text)
	}
	for _, line := range rates {
		if !strings.Contains(line, "+100.00% (p=0.008 n=5)") || strings.Contains(line, "cni=") {
			t.Errorf("twice as much is shown as %q", line)
		}
	}
	for _, line := range delays {
		if !strings.Contains(line, " ~ (p=") {
			t.Errorf("an equal figure is shown as %q", line)
		}
	}
}
