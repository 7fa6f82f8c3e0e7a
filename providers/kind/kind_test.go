package kind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	known.Providers = []string{"kind"}
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
		{"no permission", info{ServerErrors: []string{"Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"}}, failed, "no permission to use Docker", "sudo"},
		{"not running", info{ServerErrors: []string{"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"}}, failed, "is not running", "systemctl start docker"},
		{"not running, reported by docker 29", info{ServerErrors: []string{"failed to connect to the docker API at unix:///var/run/docker.sock"}}, failed, "is not running", "systemctl start docker"},
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

// Without docker or podman on the PATH: Check says so, and there is nothing to delete or find.
func TestNoEngine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(engineKey, "")
	if _, err := choose(t.Context()); !errors.Is(err, errNoDocker) {
		t.Errorf("choose says %v", err)
	}
	if err := (Provider{}).Delete(t.Context(), labs.MustName("nlt-none"), filepath.Join(t.TempDir(), "nlt-none")); os.Geteuid() == 0 && err != nil {
		t.Errorf("delete says %v", err)
	}
	if labs, err := (Provider{}).Find(); err != nil || len(labs) > 0 {
		t.Errorf("find gives %v (%v)", labs, err)
	}
}

// The engine is the one that kind's variable names, else Docker where it is fit, else
// Podman; a lab that is there keeps its own.
func TestChoose(t *testing.T) {
	const (
		fitDocker   = `echo '{"ServerVersion": "20.10.24"}'`
		downDocker  = `echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1`
		otherDocker = `echo '{"host": {}, "version": {"Version": "4.3.1"}}'` // podman-docker's
		fitPodman   = `echo '{"host": {"security": {"rootless": false}}, "version": {"Version": "4.3.1"}}'`
		rootless    = `echo '{"host": {"security": {"rootless": true}}, "version": {"Version": "4.3.1"}}'`
		old         = `echo '{"host": {"security": {"rootless": false}}, "version": {"Version": "2.2.1"}}'`
	)
	for _, c := range []struct {
		name, docker, podman, named string
		want                        engine
		says                        []string
	}{
		{"both", fitDocker, fitPodman, "", docker, nil},
		{"Docker is down", downDocker, fitPodman, "", podman, nil},
		{"podman-docker", otherDocker, fitPodman, "", podman, nil},
		{"Podman alone", "", fitPodman, "", podman, nil},
		{"named", fitDocker, fitPodman, "podman", podman, nil},
		{"named and down", downDocker, fitPodman, "docker", "", []string{"Docker is not running"}},
		{"named and missing", "", fitPodman, "docker", "", []string{"docker is not on the PATH"}},
		{"another", fitDocker, fitPodman, "nerdctl", "", []string{`is "nerdctl"`}},
		{"neither is fit", downDocker, rootless, "", "", []string{"Docker is not running", "Podman is rootless"}},
		{"old Podman", "", old, "", "", []string{"2.2.1 is too old"}},
		{"podman-docker alone", otherDocker, "", "", "", []string{"is not Docker's"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			for name, script := range map[string]string{"docker": c.docker, "podman": c.podman} {
				if script != "" {
					if err := os.WriteFile(filepath.Join(path, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("PATH", path)
			t.Setenv(engineKey, c.named)
			t.Setenv("DOCKER_HOST", "")
			got, err := choose(t.Context())
			if (err == nil) != (c.want != "") || c.want != "" && got != c.want {
				t.Errorf("chose %q (%v), want %q", got, err, c.want)
			}
			for _, text := range c.says {
				if !strings.Contains(fmt.Sprint(err), text) {
					t.Errorf("says %v, want %q", err, text)
				}
			}
		})
	}
	dir := t.TempDir()
	t.Setenv(engineKey, "docker")
	if err := os.WriteFile(filepath.Join(dir, engineFile), []byte("podman\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if e, err := engineOf(t.Context(), dir); e != podman || err != nil {
		t.Errorf("a lab made on Podman is looked for on %q (%v)", e, err)
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
	next := free(labs.MustName("l"), map[string]container{"cp": {Name: "l-control-plane"}, "a": {Name: "l-worker"}, "c": {Name: "l-worker3"}})
	for _, want := range []string{"l-worker2", "l-worker4"} {
		if got := next(topology.RoleWorker); got != want {
			t.Errorf("named %s, want %s", got, want)
		}
	}
}
