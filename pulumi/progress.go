package pulumi

import (
	"context"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// progress shows what the engine does beside its resource: steps in its status line, notes and
// warnings below.
type progress struct {
	p   *Provider
	ctx context.Context
	of  resource.URN
}

// progress outlives the operation's own limit: the last steps are shown too.
func (p *Provider) progress(ctx context.Context, of resource.URN) progress {
	return progress{p, context.WithoutCancel(ctx), of}
}

// Step implements engine.Progress.
func (s progress) Step(name string) func(error) {
	done, _ := s.Changing(name)
	return done
}

// Changing implements engine.Progress.
func (s progress) Changing(name string) (done func(error), now func(string)) {
	began := time.Now()
	s.status(name)
	return func(err error) {
		mark := "✓"
		if err != nil {
			mark = "✗"
		}
		s.status(fmt.Sprintf("%s %s (%.1fs)", mark, name, time.Since(began).Seconds()))
	}, s.status
}

// Note implements engine.Progress.
func (s progress) Note(text string) { s.say(diag.Info, text) }

// Warn implements engine.Progress.
func (s progress) Warn(text string) { s.say(diag.Warning, text) }

// A message that cannot be shown changes nothing about the operation.
func (s progress) say(severity diag.Severity, text string) {
	if s.p.host != nil {
		_ = s.p.host.Log(s.ctx, severity, s.of, s.p.secrets.hide(text))
	}
}

func (s progress) status(text string) {
	if s.p.host != nil {
		_ = s.p.host.LogStatus(s.ctx, diag.Info, s.of, s.p.secrets.hide(text))
	}
}
