package report

import (
	"fmt"
	"io"

	"golang.org/x/perf/benchfmt"
)

// WriteBenchfmt writes the measured paths in the Go benchmark format
// (golang.org/design/14313-benchmark-format), one line a measurement, for benchstat. The
// CNI is part of each name, as /cni=…, so that `benchstat -col /cni` compares two CNIs; the
// configuration lines, by which benchstat separates tables, hold only what else must be equal
// for a comparison. Versions of the CNI are comments.
func (r Report) WriteBenchfmt(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "# lab %s, %s %s\n", r.Lab, r.CNI.Name, r.CNI.Version); err != nil {
		return err
	}
	// benchstat must know which direction is better for units that it does not know.
	for _, line := range []string{"bit/s better=higher", "requests/s better=higher", "segments better=lower", "lost-% better=lower",
		"cpu-s/Gbit better=lower", "p50-sec better=lower", "p90-sec better=lower", "p99-sec better=lower"} {
		if _, err := fmt.Fprintf(w, "Unit %s\n", line); err != nil {
			return err
		}
	}
	out := benchfmt.NewWriter(w)
	config := []benchfmt.Config{
		{Key: "provider", Value: []byte(r.Provider), File: true},
		{Key: "kubernetes", Value: []byte(r.Kubernetes), File: true},
	}
	for _, p := range r.Paths {
		name, columns := p.benchName(r.CNI.Name), p.benchColumns()
		for i := range p.Samples() {
			record := &benchfmt.Result{Config: config, Name: benchfmt.Name(name), Iters: 1}
			for _, c := range columns {
				if i < len(c.figure.Samples) {
					record.Values = append(record.Values, benchfmt.Value{Value: c.figure.Samples[i] * c.scale, Unit: c.unit})
				}
			}
			if err := out.Write(record); err != nil {
				return err
			}
		}
	}
	return nil
}

// Samples is how often a path was measured.
func (p Result) Samples() int {
	switch {
	case p.Throughput != nil:
		return len(p.Throughput.Samples)
	case p.Latency != nil:
		return len(p.Latency.P50.Samples)
	}
	return 0
}

func (p Result) benchName(cni string) string {
	if p.Latency != nil {
		kind := map[bool]string{false: "one", true: "each"}[p.Latency.Connect]
		return fmt.Sprintf("Latency/route=%s/cni=%s/proto=%s/connection=%s", p.Route, cni, p.Protocol, kind)
	}
	if p.Throughput != nil {
		return fmt.Sprintf("Throughput/route=%s/cni=%s/proto=%s/streams=%d/sends=%s", p.Route, cni,
			p.Protocol, p.Throughput.Streams, map[string]string{Forward: "client", Reverse: "server"}[p.Throughput.Direction])
	}
	return ""
}

// benchColumn is one unit of a benchmark line.
type benchColumn struct {
	unit   string
	scale  float64
	figure Figure
}

func (p Result) benchColumns() []benchColumn {
	var out []benchColumn
	add := func(unit string, scale float64, f *Figure) {
		if f != nil {
			out = append(out, benchColumn{unit, scale, *f})
		}
	}
	if f := p.Throughput; f != nil {
		add("bit/s", 1, f)
		add("segments", 1, f.Retransmits)
		add("lost-%", 1, f.LostPercent)
		add("cpu-s/Gbit", 1, f.CPUSeconds)
	}
	if f := p.Latency; f != nil {
		add("p50-sec", 1e-6, &f.P50)
		add("p90-sec", 1e-6, &f.P90)
		add("p99-sec", 1e-6, &f.P99)
		add("requests/s", 1, &f.PerSecond)
	}
	return out
}
