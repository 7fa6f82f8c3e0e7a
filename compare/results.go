// Package compare is about what labs have in common and in what they differ. It takes the recorded
// Results of `netlab compare`, makes rows of them, tests whether a difference is more than noise,
// judges differences by the conditions of a gate, and writes all that as text, Markdown, JUnit, HTML and
// in the Go benchmark format. It makes no lab and reads no file.
package compare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/report"
)

// SchemaVersion is that of the JSON of Results. It increases when a name is removed or changes its
// meaning, not when one is added.
const SchemaVersion = 1

// Results are the runs of a comparison: for each variant, several labs.
type Results struct {
	SchemaVersion int       `json:"schemaVersion"` // see SchemaVersion
	Netlab        string    `json:"netlab"`        // its version
	Began         time.Time `json:"began"`
	Machine       Machine   `json:"machine"`
	Repeat        int       `json:"repeat"` // labs a variant
	Measured      Measured  `json:"measured"`
	Variants      []Variant `json:"variants"`
	Runs          []Run     `json:"runs"`
	Underway      *Underway `json:"underway,omitempty"` // the run that is not at its end
}

// Machine is what the runs ran on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
}

func (m Machine) String() string { return fmt.Sprintf("%d × %s, kernel %s", m.Cores, m.CPU, m.Kernel) }

// Measured is what is measured in each run besides every path.
type Measured struct {
	Throughput []string `json:"throughput,omitempty"` // routes
	Latency    []string `json:"latency,omitempty"`    // routes
	Thorough   bool     `json:"thorough,omitempty"`   // the paths that take long too
}

// Variant is a lab file, with other values of some fields.
type Variant struct {
	Name     string         `json:"name"` // the lab's, and the settings
	File     string         `json:"file"`
	Settings []labs.Setting `json:"settings,omitempty"`
	Lab      labs.Name      `json:"lab"`
	CNI      labs.CNI       `json:"cni"`
	Proxy    string         `json:"proxy"` // kube-proxy's mode
	Provider string         `json:"provider"`
	Plan     string         `json:"plan"` // hash of the lab's plan
}

// NameOf is the name of a variant.
func NameOf(lab labs.Name, settings []labs.Setting) string {
	words := []string{lab.String()}
	for _, s := range settings {
		words = append(words, s.String())
	}
	return strings.Join(words, " ")
}

// Run is one lab: created, verified, measured and removed. Seconds are those that a user waits.
type Run struct {
	Variant       int            `json:"variant"` // its index
	Round         int            `json:"round"`   // from 0 on
	Began         time.Time      `json:"began"`
	Error         string         `json:"error,omitempty"` // why something is missing
	UpSeconds     float64        `json:"upSeconds"`       // everything built; verified
	VerifySeconds float64        `json:"verifySeconds"`   // once more, the lab being up
	DownSeconds   float64        `json:"downSeconds"`
	TotalSeconds  float64        `json:"totalSeconds"`
	NodeBytes     int64          `json:"nodeBytes,omitempty"` // the mean of its Nodes
	Usage         []Usage        `json:"usage,omitempty"`     // of workloads
	Report        *report.Report `json:"report,omitempty"`
	Measured      *report.Report `json:"measured,omitempty"` // throughput, latency, and a path whose packets were captured
}

// Usage is what the Pods of a workload used, all Nodes together, as kubelet accounts it.
type Usage struct {
	Workload   string  `json:"workload"`
	Bytes      int64   `json:"bytes"`      // working set
	CPUSeconds float64 `json:"cpuSeconds"` // since they started
}

// Underway is a run whose lab exists.
type Underway struct {
	Lab   labs.Name `json:"lab"`
	Began time.Time `json:"began"`
}

// atOnce is how soon after a run began its lab's state is written: the software is there before.
const atOnce = time.Minute

// Left reports whether a lab, by the time of its creation, is the one that an interrupted run left.
func (u *Underway) Left(lab labs.Name, created time.Time) bool {
	return u != nil && u.Lab == lab && !created.Before(u.Began) && created.Sub(u.Began) < atOnce
}

// Parse reads Results that Text wrote.
func Parse(data []byte) (Results, error) {
	var r Results
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("is not a file of results: %w", err)
	}
	switch {
	case r.SchemaVersion == 0 || len(r.Variants) == 0:
		return r, hint.With(fmt.Errorf("is not a file of results"), "`netlab compare FILE --save RESULTS.json` writes one")
	case r.SchemaVersion != SchemaVersion:
		return r, fmt.Errorf("has schema version %d, and this netlab reads %d", r.SchemaVersion, SchemaVersion)
	}
	for _, run := range r.Runs {
		if run.Variant < 0 || run.Variant >= len(r.Variants) {
			return r, fmt.Errorf("has a run of variant %d, of %d", run.Variant, len(r.Variants))
		}
	}
	return r, nil
}

// Text is the JSON of the results.
func (r Results) Text() ([]byte, error) {
	r.SchemaVersion = SchemaVersion
	text, err := json.MarshalIndent(r, "", " ")
	return append(text, '\n'), err
}

// Has reports whether a run was made.
func (r Results) Has(variant, round int) bool {
	for _, run := range r.Runs {
		if run.Variant == variant && run.Round == round {
			return true
		}
	}
	return false
}

// Step is a run to be made.
type Step struct{ Variant, Round int }

// Left lists the runs that are still to be made, in their order: one of each variant after another, so
// that what slows the machine down affects all; each round begins with another variant.
func (r Results) Left() (left []Step) {
	n := len(r.Variants)
	for round := range r.Repeat {
		for i := range n {
			if v := (i + round) % n; !r.Has(v, round) {
				left = append(left, Step{v, round})
			}
		}
	}
	return left
}

// TimeLeft estimates how long runs will take, by those of the same variant or else by all; 0 before
// the first.
func (r Results) TimeLeft(steps []Step) time.Duration {
	var all, count float64
	of, runs := map[int]float64{}, map[int]float64{}
	for _, run := range r.Runs {
		of[run.Variant] += run.TotalSeconds
		runs[run.Variant]++
		all += run.TotalSeconds
		count++
	}
	if count == 0 {
		return 0
	}
	sum := 0.0
	for _, s := range steps {
		if runs[s.Variant] > 0 {
			sum += of[s.Variant] / runs[s.Variant]
		} else {
			sum += all / count
		}
	}
	return time.Duration(sum * float64(time.Second))
}

// Continue adds what earlier results of the same comparison have. Only the number of repeats may
// differ. The error says what else does.
func (r Results) Continue(earlier Results) (Results, error) {
	var unlike []string
	differs := func(what string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			unlike = append(unlike, what)
		}
	}
	differs("another version of netlab ("+earlier.Netlab+")", earlier.Netlab, r.Netlab)
	differs("another machine ("+earlier.Machine.String()+")", earlier.Machine, r.Machine)
	differs("other measurements", earlier.Measured, r.Measured)
	names := func(r Results) (all []string) {
		for _, v := range r.Variants {
			all = append(all, v.Name)
		}
		return all
	}
	if was, is := names(earlier), names(r); !reflect.DeepEqual(was, is) {
		unlike = append(unlike, "other variants ("+strings.Join(was, "; ")+")")
	} else {
		for i, v := range r.Variants {
			differs("another plan of "+v.Name+": its lab file was changed", earlier.Variants[i].Plan, v.Plan)
		}
	}
	if len(unlike) > 0 {
		return r, fmt.Errorf("holds another comparison: %s", strings.Join(unlike, ", "))
	}
	earlier.Repeat = max(r.Repeat, 1)
	return earlier, nil
}
