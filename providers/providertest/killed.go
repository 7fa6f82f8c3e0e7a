package providertest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
)

// RemoveKilled removes a lab that a killed test left on this machine, with a netlab executable.
// While that test's state directory exists the lab belongs to it, and `netlab down` with another
// one, such as state, refuses the lab.
func RemoveKilled(t testing.TB, netlab, state, lab string) {
	t.Helper()
	down := exec.Command(netlab, "down", lab)
	down.Env = append(os.Environ(), "NETLAB_STATE_DIR="+string(rootOf(t, providers.DefaultOwners, providers.Root(state), lab)))
	if _, err := command.Run(down); err != nil {
		t.Fatal(err)
	}
}

// rootOf returns the state directory that has a lab: that of another test, or own. Labs of users,
// whose names are not those of tests, are left alone.
func rootOf(t testing.TB, owners providers.Owners, own providers.Root, lab string) providers.Root {
	t.Helper()
	if !strings.HasPrefix(lab, "nlt-") {
		t.Fatalf("lab %s may be a user's: names of tests' labs begin with nlt-", lab)
	}
	if other, known := owners.Other(labs.MustName(lab), own); known {
		return other
	}
	return own
}
