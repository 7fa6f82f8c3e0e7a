package report

import (
	"testing"
)

func TestFigures(t *testing.T) {
	six := FigureOf("x", []float64{6, 5, 4, 3, 2, 1})
	if six.Median != 3.5 || six.Low != 1 || six.High != 6 || six.Confidence < confidence || six.Samples[0] != 6 {
		t.Errorf("six: %+v", six)
	}
	three := FigureOf("x", []float64{10, 11, 9})
	if three.Median != 10 || three.Low != 9 || three.High != 11 || three.Confidence != 0.75 || three.PlusMinus() != "(±10%)" {
		t.Errorf("three: %+v %s", three, three.PlusMinus())
	}
	if one := FigureOf("x", []float64{7}); one.Median != 7 || one.Low != 7 || one.Confidence != 0 || one.PlusMinus() != "" {
		t.Errorf("one: %+v", one)
	}
	for v, want := range map[float64]string{0: "0.00 bit/s", 999.4: "999 bit/s", 999.6: "1.00 kbit/s", 1.234e10: "12.3 Gbit/s", 5e14: "500 Tbit/s"} {
		if got := RateText(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	if got := MicrosText(1234); got != "1.23 ms" {
		t.Error(got)
	}
}
