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

// webhookAway is how long a webhook that cannot be called may refuse objects before a
// verification goes on without them.
const webhookAway = 4 * time.Second

// Prepare creates the agents and what they require in the cluster, and does not wait for
// them: `up` calls it as soon as the API server answers, while the components are still
// being installed. Calling it again changes nothing.
func Prepare(ctx context.Context, running providers.Running, o Options) error {
	_, err := prepare(ctx, running, o, o.wait(running.Plan), o.wait(running.Plan))
	return err
}

// prepare is Prepare with limits on how long the API server and a webhook may be away. It
// returns why the cluster refuses objects, by "pods/NAMESPACE/NAME".
func prepare(ctx context.Context, running providers.Running, o Options, away, webhook time.Duration) (map[string]string, error) {
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("prepare the verification: %w", err)
	}
	// An API server that has just started rejects some requests for a moment; so does an
	// Ingress webhook.
	ctx, cancel := context.WithTimeout(ctx, o.wait(running.Plan))
	defer cancel()
	lab := workload.Lab{Plan: running.Plan, Support: o.Support, Pods: checks.Pods(running.Plan), Image: o.Agent}
	began := time.Now()
	answered := began
	for {
		trying, stop := context.WithDeadline(ctx, answered.Add(away))
		err := workload.Apply(trying, client, lab, o.policyResources()...)
		stop()
		refused, rest, again := refusals(err, time.Since(began) < webhook)
		switch {
		case rest == nil && !again:
			return refused, nil
		case rest == nil, errors.As(rest, new(apierrors.APIStatus)):
			answered = time.Now()
		case time.Since(answered) >= away:
			return nil, hint.With(fmt.Errorf("the API server did not answer within %s: %w", away, err),
				fmt.Sprintf("`netlab status %s` lists what is wrong", running.Plan.Lab))
		}
		if sleep(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("prepare the verification: %w", err)
		}
	}
}

// refusals are why the cluster refuses objects, and the rest of an error of workload.Apply. Those
// of a webhook that cannot be called are tried again while there is time.
func refusals(err error, time bool) (refused map[string]string, rest error, again bool) {
	all, rest := workload.Refusals(err)
	refused = map[string]string{}
	for what, r := range all {
		refused[what] = r.Why
		again = again || r.Away && time
	}
	return refused, rest, again
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
