package hint

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	lost := errors.New("no runc")
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"nil":    {nil, nil},
		"none":   {lost, nil},
		"one":    {With(lost, "a"), []string{"a"}},
		"below":  {fmt.Errorf("start: %w", With(lost, "a")), []string{"a"}},
		"twice":  {With(With(lost, "a"), "a"), []string{"a"}},
		"two":    {With(With(lost, "inner"), "outer"), []string{"outer", "inner"}},
		"joined": {errors.Join(With(lost, "a"), With(lost, "b")), []string{"a", "b"}},
		"empty":  {With(lost, ""), nil},
	} {
		if got := Of(c.err); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if With(nil, "a") != nil {
		t.Error("a hint makes an error of nil")
	}
	if !errors.Is(With(lost, "a"), lost) || With(lost, "a").Error() != "no runc" {
		t.Error("a hint hides its error")
	}
}
