package run

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/workload"
)

// hostMachine is a machine whose file system is this one's.
type hostMachine struct{ dir, root string }

func (m hostMachine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

func (m hostMachine) Dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", m.root+path)
}

func (m hostMachine) Logs() string { return m.dir }

// serving runs an agent until the end of the test, and returns once its control socket accepts
// connections.
func serving(t *testing.T, s agent.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for range 1000 {
		if c, err := net.Dial("unix", s.Socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the agent does not serve %s", s.Socket)
}

// TestClient talks to a real agent that serves only its control socket.
func TestClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	serving(t, agent.Server{Name: "echo-w1", IP: "10.244.1.2", Socket: socket})
	a := newClient(providers.Running{Machines: map[string]providers.Machine{"w1": hostMachine{}}})
	defer a.close()
	unknown := []agent.Probe{{Kind: "smoke"}, {Kind: "fire"}}
	rows := []struct {
		name   string
		s      observe.Station
		probes []agent.Probe
		want   string // part of the error; "" for none
	}{
		{"in order", observe.Station{Machine: "w1", Socket: socket, Pod: workload.Namespace + "/echo-w1", IP: "10.244.1.2"}, unknown, ""},
		{"who does not say", observe.Station{Machine: "w1", Socket: socket}, unknown, ""},
		{"a predecessor", observe.Station{Machine: "w1", Socket: socket, Pod: workload.Namespace + "/echo-w1", IP: "10.244.1.3"}, unknown, "the previous Pod, at 10.244.1.2, still answers"},
		{"no such machine", observe.Station{Machine: "w9", Socket: socket}, unknown, "w9 is off"},
		{"no agent there", observe.Station{Machine: "w1", Socket: socket + "x"}, unknown, "no such file"},
		{"more than one request takes", observe.Station{Machine: "w1", Socket: socket}, slices.Repeat(unknown, agent.MaxProbes), ""},
	}
	for _, r := range rows {
		results, err := a.ask(context.Background(), r.s, r.probes)
		switch {
		case r.want == "" && err != nil:
			t.Errorf("%s: %v", r.name, err)
		case r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)):
			t.Errorf("%s: error %v, want %q", r.name, err, r.want)
		case r.want == "" && len(results) != len(r.probes):
			t.Errorf("%s: %d results of %d probes", r.name, len(results), len(r.probes))
		case r.want == "":
			for i, p := range r.probes {
				if results[i].Outcome != agent.Broken || !strings.Contains(results[i].Error, fmt.Sprintf("%q", p.Kind)) {
					t.Errorf("%s: result %d is %+v", r.name, i, results[i])
				}
			}
		}
	}
}

// What answers at an agent's socket may be anything that runs in a Pod: its answers are bounded,
// and a capture that begins twice is an error.
func TestClientOfAStranger(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/probe", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"name": "`)
		for line := []byte(strings.Repeat("x", 1<<16)); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/capture", func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // as the agent does: the request goes on
		fmt.Fprint(w, `{"ready": {}} {"ready": {}} {"end": {}}`)
	})
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	a, s := newClient(providers.Running{Machines: map[string]providers.Machine{"w1": hostMachine{}}}), observe.Station{Machine: "w1", Socket: socket}
	defer a.close()
	if _, err := a.ask(t.Context(), s, []agent.Probe{{Kind: "smoke"}}); err == nil || !strings.Contains(err.Error(), "exceeds 16 MiB") {
		t.Errorf("an endless answer: %v", err)
	}
	c := a.capture(t.Context(), s, time.Second, nil)
	<-c.done
	if !strings.Contains(c.place.Err, "began twice") {
		t.Errorf("a capture that begins twice: %q", c.place.Err)
	}
}

// A Node's agent tells the addresses of its interfaces; one that does not answer tells none.
func TestAddresses(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observe.New(plan, plantest.Flannel(), checks.Pods(plan), observetest.Healthy(plan), nil, nil)
	station, err := w.Station(observe.AtNode(plan.Nodes()[1]))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	socket := filepath.Join(root, station.Socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	serving(t, agent.Server{Name: "node-w1", Socket: socket})
	machines := map[string]providers.Machine{}
	for _, n := range plan.Nodes() {
		machines[n.Name] = hostMachine{root: root}
	}
	a := newClient(providers.Running{Machines: machines})
	defer a.close()
	own := a.addresses(t.Context(), w)
	if len(own) != 1 || !slices.Contains(own["w1"], netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("addresses are %v", own)
	}
}
