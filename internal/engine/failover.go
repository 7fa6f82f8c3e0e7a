package engine

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
)

// healing is how long a path may take to be as expected after failovers: what ran on a Node that was
// off starts again, MetalLB's speaker for one.
const healing = time.Minute

// switches are the power switches of a lab's machines, for run.Failover.
type switches struct {
	engine   Engine
	lab      labs.Name
	progress Progress
}

// Off cuts the power of a machine.
func (s switches) Off(ctx context.Context, machine string) error {
	done := s.progress.Step("failover: " + machine + " is switched off")
	_, err := s.engine.Power(ctx, s.lab, []string{machine}, PowerOff, s.progress)
	done(err)
	return err
}

// On starts a machine, and waits until it holds the VIPs that it should.
func (s switches) On(ctx context.Context, machine string) error {
	if _, err := s.engine.Power(ctx, s.lab, []string{machine}, PowerOn, s.progress); err != nil {
		return fmt.Errorf("%w; `netlab power on %s %s` starts it", err, s.lab, machine)
	}
	running, state, err := s.engine.attach(ctx, s.lab)
	if err != nil {
		return err
	}
	awaitSharedVIPs(ctx, running, state.Plan, s.progress)
	return nil
}
