package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// SharedVIPStatus is a VIP that hosts share by VRRP.
type SharedVIPStatus struct {
	topology.Sharers
	Holders []string `json:"holders"` // that have the address now: one, unless something is wrong
}

// sharersLimit bounds asking one host, sharedVIPsLimit the wait for VIPs at the end of `up`: a host with a higher
// priority takes a VIP over when it has been silent for 3.2 s, once its HAProxy has found a Node.
const (
	sharersLimit    = 5 * time.Second
	sharedVIPsLimit = 20 * time.Second
)

// sharedVIPsOf asks the hosts that are on which of the VIPs that they share they hold. The error joins those
// of hosts that could not be asked.
func sharedVIPsOf(ctx context.Context, running providers.Running, plan topology.Plan) (all []SharedVIPStatus, errs error) {
	held := map[string][]netip.Addr{}
	for _, m := range plan.Machines {
		host, known := running.Machines[m.Name]
		if m.VRRP == nil || !known || slices.Contains(running.Off, m.Name) {
			continue
		}
		addresses, err := askAddresses(ctx, host)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("VIPs of host %s: %w", m.Name, err))
		}
		held[m.Name] = addresses
	}
	for _, s := range plan.Shared() {
		v := SharedVIPStatus{Sharers: s, Holders: []string{}}
		for _, h := range s.Hosts {
			if slices.Contains(held[h], s.VIP) {
				v.Holders = append(v.Holders, h)
			}
		}
		all = append(all, v)
	}
	return all, errs
}

// askAddresses reads the IPv4 addresses of a machine.
func askAddresses(ctx context.Context, m providers.Machine) (all []netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, sharersLimit)
	defer cancel()
	out, err := m.Command(ctx, "ip", "-4", "-json", "address").Output()
	if err != nil {
		return nil, fmt.Errorf("ip address: %w", err)
	}
	var links []struct {
		Addresses []struct {
			Local netip.Addr `json:"local"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("ip address: %w", err)
	}
	for _, l := range links {
		for _, a := range l.Addresses {
			all = append(all, a.Local)
		}
	}
	return all, nil
}

// awaitSharedVIPs waits until each VIP that hosts share is held by the one that should hold it: after a start
// another may have it first. Those that are not are left to the verification.
func awaitSharedVIPs(ctx context.Context, running providers.Running, plan topology.Plan, p Progress) {
	await(ctx, "shared VIPs", sharedVIPsLimit, p, func() bool {
		all, err := sharedVIPsOf(ctx, running, plan)
		return err == nil && !slices.ContainsFunc(all, func(v SharedVIPStatus) bool {
			return !slices.Equal(v.Holders, []string{v.Holder(running.Off)})
		})
	})
}

// await asks until what it asks for is so, or the limit is over. It is a step of `up` if it is not so at
// once.
func await(ctx context.Context, step string, limit time.Duration, p Progress, is func() bool) {
	if is() {
		return
	}
	done := p.Step(step)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for ctx.Err() == nil && !is() {
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	done(ctx.Err())
}
