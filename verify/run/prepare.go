package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/workload"
)

// apiAway is how long the API server may be away before a verification fails: it is back by then
// after a control plane was lost, or its process was restarted.
const apiAway = 15 * time.Second

// Prepare creates the agents and what they require in the cluster, and does not wait for
// them: `up` calls it as soon as the API server answers, while the components are still
// being installed. Calling it again changes nothing.
func Prepare(ctx context.Context, running providers.Running, o Options) error {
	return prepare(ctx, running, o, o.wait(running.Plan))
}

// prepare is Prepare with a limit on how long the API server may be away.
func prepare(ctx context.Context, running providers.Running, o Options, away time.Duration) error {
	config, err := running.Config()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("prepare the verification: %w", err)
	}
	// An API server that has just started rejects some requests for a moment; so does an
	// Ingress webhook.
	ctx, cancel := context.WithTimeout(ctx, o.wait(running.Plan))
	defer cancel()
	pods := checks.Pods(running.Plan)
	answered := time.Now()
	for {
		trying, stop := context.WithDeadline(ctx, answered.Add(away))
		err := workload.Apply(trying, client, running.Plan, pods, o.Agent, o.policyResources()...)
		stop()
		switch {
		case err == nil:
			return nil
		case errors.As(err, new(apierrors.APIStatus)):
			answered = time.Now()
		case time.Since(answered) >= away:
			return hint.With(fmt.Errorf("the API server did not answer within %s: %w", away, err),
				fmt.Sprintf("`netlab status %s` lists what is wrong", running.Plan.Lab))
		}
		if sleep(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("prepare the verification: %w", err)
		}
	}
}

// controlPlaneOff is the error of a lab whose control planes are all off: without an API server
// the addresses of Pods and Services are unknown.
func controlPlaneOff(running providers.Running) error {
	for _, m := range running.Plan.WithRole(topology.RoleControlPlane) {
		if !slices.Contains(running.Off, m.Name) {
			return nil
		}
	}
	return hint.With(fmt.Errorf("no control plane is on; machines that are off: %s", strings.Join(running.Off, ", ")),
		fmt.Sprintf("`netlab start %s` starts them", running.Plan.Lab))
}
