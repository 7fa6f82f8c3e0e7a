package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/regular"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology/fabric"
)

// Limits of the wait for a host's services: in total, and for one request.
const (
	serviceLimit = 30 * time.Second
	readyLimit   = 2 * time.Second
)

// await waits until PID 1 has loaded the services file with this hash and every service of the
// host is ready. It fails if a service exits.
func (h host) await(ctx context.Context, services []components.HostService, hash string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %s", limit))
	defer cancel()
	var why error // that of the last attempt that ended before the limit
	for {
		status, err := h.status()
		if err == nil && status.Hash != hash {
			err = errors.New("PID 1 has not loaded its services yet")
		}
		for _, s := range services {
			if err != nil {
				break
			}
			if state := status.Services[s.Name]; state.PID == 0 && state.Ended != "" {
				return hint.With(fmt.Errorf("service %s exited: %s", s.Name, state.Ended), "see "+filepath.Join(h.Container.Logs, s.Name+".log"))
			}
			err = h.ready(ctx, s, status)
		}
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		if h.PID() == 0 {
			return hint.With(errors.New("its PID 1 exited"), "see "+filepath.Join(h.Container.Logs, "init.log"))
		}
		select {
		case <-ctx.Done():
			return hint.With(fmt.Errorf("%w: %w", context.Cause(ctx), why), "see the logs in "+h.Container.Logs)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// status reads the service status that the host's PID 1 writes.
func (h host) status() (status pid1.Status, err error) {
	pid := h.PID()
	if pid == 0 {
		return status, h.off()
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return status, err
	}
	defer root.Close()
	data, err := regular.Read(root, strings.TrimPrefix(pid1.StatusFile, "/"), 1<<20)
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(data, &status)
}

// ready runs the readiness check that the component of a service defines.
func (h host) ready(ctx context.Context, s components.HostService, status pid1.Status) error {
	if status.Services[s.Name].PID == 0 {
		return fmt.Errorf("service %s is not running", s.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	var err error
	switch r := s.Ready; {
	case r.Unix != "":
		err = closed(h.Dial(ctx, r.Unix))
	case r.TCP != "":
		err = closed(fabric.Dial(ctx, h.Lab, h.Name, "tcp", r.TCP))
	case r.UDP != "":
		err = h.bound(r.UDP)
	default:
		err = h.Command(ctx, r.Command...).Run()
	}
	if err != nil {
		return fmt.Errorf("service %s is not ready (%s): %w", s.Name, s.Ready, err)
	}
	return nil
}

func closed(c interface{ Close() error }, err error) error {
	if err != nil {
		return err
	}
	return c.Close()
}

// bound checks that a UDP socket of the host is bound to a port, by /proc/net/udp: local_address
// is the second field, address and port in hexadecimal (proc_net(5)).
func (h host) bound(port string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	want := fmt.Sprintf(":%04X", number)
	for _, file := range []string{"udp", "udp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.PID(), file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasSuffix(f[1], want) {
				return nil
			}
		}
	}
	return fmt.Errorf("no socket is bound to UDP port %s", port)
}

// inspectHosts joins all differences of the outside hosts from the plan.
func inspectHosts(ctx context.Context, state providers.State, dir string) error {
	var errs error
	for _, m := range state.Plan.Hosts() {
		h := hostOf(state.Plan.Lab, dir, m)
		status, err := h.status()
		if err == nil && !h.inPlace() {
			err = fmt.Errorf("host %s is not in its network namespace", m.Name)
		}
		if errors.As(err, new(providers.OffError)) {
			errs = errors.Join(errs, err)
			continue
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("outside host %s: %w", m.Name, err))
			continue
		}
		for _, s := range state.Artifacts.Hosts[m.Name] {
			if err := h.ready(ctx, s, status); err != nil {
				errs = errors.Join(errs, fmt.Errorf("outside host %s: %w", m.Name, err))
			}
		}
	}
	return errs
}
