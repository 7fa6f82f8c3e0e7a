package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

func TestReport(t *testing.T) {
	lost := errors.New("no runc")
	for name, c := range map[string]struct {
		err  error
		code int
		want string
	}{
		"nothing":      {nil, 0, ""},
		"plain":        {lost, 2, "error: no runc\n"},
		"hint":         {hint.With(lost, "install it"), 2, "error: no runc\nhint: install it\n"},
		"hint below":   {fmt.Errorf("start w1: %w", hint.With(lost, "install it")), 2, "error: start w1: no runc\nhint: install it\n"},
		"hint twice":   {hint.With(hint.With(lost, "a"), "a"), 2, "error: no runc\nhint: a\n"},
		"joined":       {errors.Join(hint.With(lost, "a"), errors.New("no space")), 2, "error: no runc\nhint: a\nerror: no space\n"},
		"joined twice": {errors.Join(errors.Join(lost, lost), lost), 2, "error: no runc\nerror: no runc\nerror: no runc\n"},
		"in a sentence": {fmt.Errorf("both: %w and %w", lost, hint.With(lost, "a")), 2,
			"error: both: no runc and no runc\nhint: a\n"},
		"inner exit status": {fmt.Errorf("ssh: %w", exitStatus{7}), 7, ""},
		"a path failed":     {exitStatus{exitPath}, 1, ""},
		"Ctrl-C":            {fmt.Errorf("wait: %w", context.Canceled), 2, "error: interrupted\n"},
		"one problem":       {labs.Problems{{File: "a.yaml", Line: 3, Field: "cni", What: "is bad", Hint: "mend it"}}, 2, "a.yaml:3: cni: is bad; mend it\n1 problem in a.yaml; nothing was created\n"},
		"problems without a file": {labs.Problems{{Field: "x", What: "is bad"}, {What: "is worse"}}, 2,
			"x: is bad\nis worse\n2 problems; nothing was created\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if code := printError(&out, painter{}, c.err); code != c.code || out.String() != c.want {
				t.Errorf("exit code %d, want %d; printed\n%swant\n%s", code, c.code, out.String(), c.want)
			}
		})
	}
}

func TestReportColours(t *testing.T) {
	var out strings.Builder
	printError(&out, painter{on: true}, errors.New("no runc"))
	if !strings.HasPrefix(out.String(), "\x1b[31merror:\x1b[0m ") {
		t.Errorf("%q", out.String())
	}
}
