package netns

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	providertest.Run(t, providertest.Suite{
		Provider: "netns",
		New:      func() providers.Provider { return Provider{} },
		Software: providertest.SoftwareOf(t, providertest.Netlab(t)),
		Kill: func(ctx context.Context, lab labs.Name, dir, name string) error {
			n := nodeOf(lab, dir, topology.Machine{Name: name})
			pid := n.PID()
			if pid == 0 {
				return fmt.Errorf("node %s is not running", name)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return err
			}
			for n.PID() != 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
	})
}
