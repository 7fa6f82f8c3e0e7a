package kind

import (
	"errors"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

func plan(t *testing.T, name string) topology.Plan {
	t.Helper()
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := catalog.Known()
	known.Providers, known.ProxyModes = []string{"kind"}, []string{"nftables"}
	l, err := labs.Load("lab.yaml", []byte("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: "+name+"}\n"), known)
	if err != nil {
		t.Fatal(err)
	}
	p, err := topology.Build(l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudge(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		name string
		said info
		err  error
		want string // part of the message; empty: nothing is wrong
		hint string
	}{
		{"Debian's", info{ServerVersion: "20.10.24+dfsg1", SecurityOptions: []string{"name=seccomp,profile=default"}}, nil, "", ""},
		{"new", info{ServerVersion: "29.0.1"}, nil, "", ""},
		{"too old", info{ServerVersion: "19.03.15"}, nil, "too old", "newer Docker"},
		{"rootless", info{ServerVersion: "28.2.2", SecurityOptions: []string{"name=seccomp,profile=builtin", "name=rootless"}}, nil, "rootless", "system's Docker"},
		{"no permission", info{ServerErrors: []string{"Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"}}, failed, "does not let us in", "sudo"},
		{"not running", info{ServerErrors: []string{"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"}}, failed, "does not run", "systemctl start docker"},
		{"not running, told by docker 29", info{ServerErrors: []string{"failed to connect to the docker API at unix:///var/run/docker.sock"}}, failed, "does not run", "systemctl start docker"},
		{"else", info{ServerErrors: []string{"no space left on device"}}, failed, "no space left", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := judge(c.said, c.err)
			if c.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("says %v, want %q", err, c.want)
			}
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) != (c.hint != "") || c.hint != "" && !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("hint of %v is not %q", err, c.hint)
			}
		})
	}
}

// Without docker on the PATH: Check says so, and there is nothing to delete or find.
func TestNoDocker(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := checkDocker(t.Context()); !errors.Is(err, errNoDocker) {
		t.Errorf("check says %v", err)
	}
	if labs, err := (Provider{}).Find(); err != nil || len(labs) > 0 {
		t.Errorf("find gives %v (%v)", labs, err)
	}
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
	if there, err := containers(t.Context(), "nlt-none"); !errors.Is(err, errNoDocker) || len(there) > 0 {
		t.Errorf("containers: %v (%v)", there, err)
	}
}

// A container belongs to the Node whose directory it mounts; one without that mount is
// not netlab's.
func TestContainerMachine(t *testing.T) {
	var own, other container
	own.Mounts = []struct{ Source, Destination string }{{"/lib/modules", "/lib/modules"}, {"/var/lib/netlab/l/nodes/w1/seed", seed}}
	other.Mounts = own.Mounts[:1]
	if got := own.machine(); got != "w1" {
		t.Errorf("machine is %q", got)
	}
	if got := other.machine(); got != "" {
		t.Errorf("a stranger's container is taken for %q", got)
	}
}

// Nodes that join later are named on from those that are there.
func TestFree(t *testing.T) {
	next := free("l", map[string]container{"cp": {Name: "l-control-plane"}, "a": {Name: "l-worker"}, "c": {Name: "l-worker3"}})
	for _, want := range []string{"l-worker2", "l-worker4"} {
		if got := next(topology.RoleWorker); got != want {
			t.Errorf("named %s, want %s", got, want)
		}
	}
}
