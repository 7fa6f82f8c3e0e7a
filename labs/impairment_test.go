package labs_test

import (
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
)

func TestPercent(t *testing.T) {
	for text, want := range map[string]labs.Percent{"0%": 0, "0.001%": 1, "0.5%": 500, "1%": 1000, "12.25%": 12_250, "100%": 100_000} {
		var p labs.Percent
		if err := p.UnmarshalText([]byte(text)); err != nil || p != want || p.String() != text {
			t.Errorf("%s reads as %d and is written %s (%v)", text, int(p), p, err)
		}
	}
	for _, text := range []string{"", "1", "%", "-1%", "1 %", "0.0001%", "1e1%", "99999999999999999999%"} {
		var p labs.Percent
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q reads as %s", text, p)
		}
	}
}

func TestParseImpairment(t *testing.T) {
	wait := func(d time.Duration) labs.Duration { return labs.Duration{Duration: d} }
	for text, want := range map[string]labs.Impairment{
		"none":                      {},
		"rate=10Mbit":               {Rate: 10e6},
		"delay=20ms":                {Delay: wait(20 * time.Millisecond)},
		"loss=100%":                 {Loss: 100_000},
		"jitter=1500µs delay=1.5ms": {Delay: wait(1500 * time.Microsecond), Jitter: wait(1500 * time.Microsecond)},
		"delay=20ms jitter=2ms loss=0.5% rate=1.5Gbit": {wait(20 * time.Millisecond), wait(2 * time.Millisecond), 500, 1500e6},
	} {
		if got, err := labs.ParseImpairment(strings.Fields(text)); err != nil || got != want || got.None() != (text == "none") {
			t.Errorf("%s: %v (%v), want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"dealy=1ms":             "dealy: unknown setting; did you mean delay?",
		"rate=10":               `rate: "10" is not a valid rate; for example 500Mbit or 1.5Gbit`,
		"loss=1":                `loss: "1" is not a valid percentage; for example 1% or 0.5%`,
		"delay=":                `delay: "" is not a valid duration; for example 3s or 1m30s`,
		"rate=1Mbit rate=2Mbit": "rate: is set twice; remove one",
		"none rate=1Mbit":       "none: unknown setting; supported: delay, jitter, loss, rate",
		"jitter=1ms":            "jitter: 1ms is not between 0s and the delay of 0s; a packet waits from delay less jitter to delay plus jitter",
		"delay=6s":              "delay: 6s is out of range; must be between 0s and 5s",
		"delay=-1s":             "delay: -1s is out of range; must be between 0s and 5s",
		"delay=1ns":             "delay: 1ns is too exact; use whole microseconds",
		"loss=101% rate=1kbit":  "loss: 101% is out of range; must be at most 100%\nrate: 1kbit is out of range; must be between 64kbit and 100Gbit",
		"rate=1Tbit":            "rate: 1Tbit is out of range; must be between 64kbit and 100Gbit",
		"rate=64001bit":         "rate: 64001bit is not a whole number of bytes; use a multiple of 8bit",
	} {
		if got, err := labs.ParseImpairment(strings.Fields(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v (%v), want %s", text, got, err, want)
		}
	}
	whole, err := labs.ParseImpairment([]string{"rate=10Mbit", "loss=1%", "delay=1s", "jitter=10ms"})
	if err != nil || whole.String() != "delay 1s, jitter 10ms, loss 1%, rate 10Mbit" || (labs.Impairment{}).String() != "none" {
		t.Errorf("%v (%v)", whole, err)
	}
}
