package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/frr"
)

// SessionStatus is a BGP session of a router.
type SessionStatus struct {
	Router string `json:"router"`
	Name   string `json:"name,omitempty"` // of the peer: a machine; "" for a peer that is not in the plan
	frr.Session
}

// missingSession is the state of a session of the plan that the router does not know.
const missingSession = "missing"

// sessionLimit bounds asking one router.
const sessionLimit = 5 * time.Second

// sessionsLimit bounds the wait for sessions at the end of `up`. MetalLB gives up a connection that nothing
// answers after 10 s, and tries again after 1, 2, 4, 8 and more seconds.
const sessionsLimit = time.Minute

// awaitSessions waits until the sessions of the plan are established: after a change of routers or
// of how VIPs are announced they start anew. Those that are not are left to the verification.
func awaitSessions(ctx context.Context, running providers.Running, plan topology.Plan, p Progress) {
	await(ctx, "BGP sessions", sessionsLimit, p, func() bool {
		all, err := sessionsOf(ctx, running, plan)
		return err == nil && !slices.ContainsFunc(all, func(s SessionStatus) bool { return s.Name != "" && s.State != frr.Established })
	})
}

// sessionsOf asks the routers that are on for their BGP sessions. The error joins those of routers
// that could not be asked.
func sessionsOf(ctx context.Context, running providers.Running, plan topology.Plan) (all []SessionStatus, errs error) {
	for _, m := range plan.Machines {
		router, known := running.Machines[m.Name]
		if m.Routing == nil || !known || slices.Contains(running.Off, m.Name) {
			continue
		}
		state, err := askFRR(ctx, router)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("BGP sessions of router %s: %w", m.Name, err))
			continue
		}
		all = append(all, compareSessions(m, state)...)
	}
	return all, errs
}

// askFRR reads the state of a router's FRR.
func askFRR(ctx context.Context, router providers.Machine) (frr.State, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionLimit)
	defer cancel()
	out, err := router.Command(ctx, frr.Command()...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return frr.State{}, fmt.Errorf("vtysh: %s", strings.TrimSpace(string(out)+string(exit.Stderr)))
	}
	if err != nil {
		return frr.State{}, err
	}
	return frr.Parse(out)
}

// compareSessions lists the sessions of the plan with their state, then those that only FRR knows.
func compareSessions(router topology.Machine, is frr.State) (all []SessionStatus) {
	var planned []netip.Addr
	for _, s := range router.Routing.Sessions {
		planned = append(planned, s.Remote)
		session := frr.Session{Peer: s.Remote, ASN: s.ASN, State: missingSession}
		if i := slices.IndexFunc(is.Sessions, func(f frr.Session) bool { return f.Peer == s.Remote }); i >= 0 {
			session = is.Sessions[i]
		}
		all = append(all, SessionStatus{Router: router.Name, Name: s.Peer, Session: session})
	}
	for _, s := range is.Sessions {
		if !slices.Contains(planned, s.Peer) {
			all = append(all, SessionStatus{Router: router.Name, Session: s})
		}
	}
	return all
}
