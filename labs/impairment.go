package labs

import (
	"encoding"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Percent is in thousandths of one percent. It is written as a number and %: "1%", "0.5%".
type Percent int

var percentPattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]{1,3})?)%$`)

// String writes the percentage as a lab file has it.
func (p Percent) String() string { return strconv.FormatFloat(float64(p)/1000, 'f', -1, 64) + "%" }

// MarshalText writes what UnmarshalText reads.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a percentage of at most three decimals.
func (p *Percent) UnmarshalText(text []byte) error {
	m := percentPattern.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not a valid percentage", text)
	}
	value, _ := new(big.Rat).SetString(string(m[1]))
	value.Mul(value, big.NewRat(1000, 1))
	if !value.Num().IsInt64() || value.Num().Int64() > 1<<30 {
		return fmt.Errorf("%q is out of range", text)
	}
	*p = Percent(value.Num().Int64())
	return nil
}

// None reports whether an Impairment leaves a link as it is.
func (i Impairment) None() bool { return i == Impairment{} }

// Emulated reports whether packets wait or are lost, beyond what a rate does to them.
func (i Impairment) Emulated() bool { return i.Delay.Duration > 0 || i.Loss > 0 }

// part is one field of an Impairment.
type part struct {
	name string
	set  bool
	text fmt.Stringer
	from encoding.TextUnmarshaler
}

func (i *Impairment) parts() []part {
	return []part{
		{"delay", i.Delay.Duration != 0, i.Delay, &i.Delay},
		{"jitter", i.Jitter.Duration != 0, i.Jitter, &i.Jitter},
		{"loss", i.Loss != 0, i.Loss, &i.Loss},
		{"rate", i.Rate != 0, i.Rate, &i.Rate},
	}
}

// ImpairmentFields are the names of an Impairment's fields.
func ImpairmentFields() (fields []string) {
	for _, s := range new(Impairment).parts() {
		fields = append(fields, s.name)
	}
	return fields
}

// String lists what impairs a link: "delay 20ms, rate 10Mbit".
func (i Impairment) String() string {
	var parts []string
	for _, s := range i.parts() {
		if s.set {
			parts = append(parts, s.name+" "+s.text.String())
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// The bounds of an Impairment. Timeouts of netlab's probes end at 10 s, and a rate must send a jumbo
// frame within the 4 s that the kernel's token bucket holds.
const (
	maxDelay         = 5 * time.Second
	maxLoss          = Percent(100_000)
	minRate, maxRate = Rate(64e3), Rate(100e9)
)

// Check returns what is wrong with an Impairment, with the names of its fields.
func (i Impairment) Check() (problems Problems) {
	switch {
	case i.Delay.Duration < 0 || i.Delay.Duration > maxDelay:
		problems.add("delay", fmt.Sprintf("must be between 0s and %s", maxDelay), "%s is out of range", i.Delay)
	case i.Delay.Duration%time.Microsecond != 0:
		problems.add("delay", "use whole microseconds", "%s is too exact", i.Delay)
	}
	switch {
	case i.Jitter.Duration < 0 || i.Jitter.Duration > max(i.Delay.Duration, 0):
		problems.add("jitter", "a packet waits from delay less jitter to delay plus jitter", "%s is not between 0s and the delay of %s", i.Jitter, i.Delay)
	case i.Jitter.Duration%time.Microsecond != 0:
		problems.add("jitter", "use whole microseconds", "%s is too exact", i.Jitter)
	}
	if i.Loss > maxLoss {
		problems.add("loss", "must be at most "+maxLoss.String(), "%s is out of range", i.Loss)
	}
	switch {
	case i.Rate != 0 && (i.Rate < minRate || i.Rate > maxRate):
		problems.add("rate", fmt.Sprintf("must be between %s and %s", minRate, maxRate), "%s is out of range", i.Rate)
	case i.Rate%8 != 0:
		problems.add("rate", "use a multiple of 8bit", "%s is not a whole number of bytes", i.Rate)
	}
	return problems
}

// NoImpairment is what ParseImpairment reads as the end of an impairment.
const NoImpairment = "none"

// ParseImpairment reads an Impairment from settings FIELD=VALUE, or from NoImpairment alone.
func ParseImpairment(settings []string) (i Impairment, err error) {
	if slices.Equal(settings, []string{NoImpairment}) {
		return i, nil
	}
	var problems Problems
	given := map[string]bool{}
	for _, text := range settings {
		name, value, _ := strings.Cut(text, "=")
		at := slices.Index(ImpairmentFields(), name)
		switch {
		case at < 0:
			problems.add(name, DidYouMean(name, ImpairmentFields()), "unknown setting")
		case given[name]:
			problems.add(name, "remove one", "is set twice")
		default:
			field := i.parts()[at].from
			if kind, example := textForm(reflect.TypeOf(field).Elem()); field.UnmarshalText([]byte(value)) != nil {
				problems.add(name, "for example "+example, "%q is not a valid %s", value, strings.TrimPrefix(kind, "a "))
			}
		}
		given[name] = true
	}
	if len(problems) == 0 {
		problems = i.Check()
	}
	return i, problems.err()
}
