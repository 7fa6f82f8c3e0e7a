// Package providertest is the conformance suite of all providers: a provider's test defines a Suite
// and calls Run. It uses only providers.Provider; what that interface does not offer, such as
// killing a Node, is part of the Suite.
//
// It creates real labs on this machine. They are small, and Run removes them.
package providertest

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

// Suite is a provider under test.
type Suite struct {
	Provider string                    // its name, as in a lab file
	New      func() providers.Provider // a new value without state of earlier ones
	Software Software                  // its Self is a netlab executable, not the test binary
	// Kill stops a Node as a power cut does.
	Kill func(ctx context.Context, lab labs.Name, dir, node string) error

	Lab  string // additional lines of its lab files; by default they have neither load balancer nor ingress
	Slow bool   // its Nodes may be emulated: steps have longer limits, and the lab of a single Node is skipped
	// Inside checks what is specific to this provider, while the lab is healthy.
	Inside func(t *testing.T, in Lab)
}

// Lab is a running lab.
type Lab struct {
	State   string // the directory of netlab's state
	Plan    topology.Plan
	Running providers.Running
}

// envCNI runs the suite with a CNI other than Flannel, as spelled in cni: of a lab file.
const envCNI = "NETLAB_TEST_CNI"

// limit bounds one step of the suite.
func (s Suite) limit() time.Duration {
	if s.Slow {
		return 15 * time.Minute
	}
	return 3 * time.Minute
}

// Run runs the suite: a lab of two Nodes that is checked, broken, stopped, grown and removed without
// its state, then one of a single Node that is removed by its state. The latter is skipped for
// emulated Nodes: it takes three minutes and shows nothing new.
func Run(t *testing.T, s Suite) {
	root := providers.Root(t.TempDir())
	l, single := s.open(t, root, two, labs.MustName("nlt-conform")), s.open(t, root, one, labs.MustName("nlt-conform-one"))
	for _, l := range []*lab{l, single} {
		defer l.remove(t)
		l.removeKilled(t)
	}
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}

	t.Run("check", l.check)
	if !t.Run("create", l.create) {
		return
	}
	for _, m := range l.plan.Machines {
		t.Run("machine/"+m.Name, func(t *testing.T) { l.machine(t, m) })
	}
	t.Run("kubeconfig", l.kubeconfig)
	if !l.plan.Capabilities.OwnKernel { // else Nodes have disks of their own
		t.Run("images", l.images)
	}
	t.Run("create again", l.again)
	t.Run("attach", l.attach)
	if s.Inside != nil {
		t.Run("inside", func(t *testing.T) { s.Inside(t, Lab{string(root), l.plan, l.running}) })
	}
	t.Run("killed node", l.killed)
	if _, able := s.New().(providers.Switcher); able {
		t.Run("power and links", l.switched)
	}
	if _, able := s.New().(providers.Stopper); able {
		t.Run("stop and start", func(t *testing.T) { l.stopped(t, before) })
	}
	t.Run("grow", func(t *testing.T) { l.grow(t, s.plan(t, three, l.plan.Lab)) })
	t.Run("shrink", func(t *testing.T) { l.shrink(t, s.plan(t, two, l.plan.Lab)) })
	t.Run("delete without state", func(t *testing.T) {
		if err := os.RemoveAll(l.dir); err != nil {
			t.Fatal(err)
		}
		l.gone(t, before)
	})

	if s.Slow {
		return
	}
	if t.Run("single node", single.create) {
		t.Run("delete", func(t *testing.T) { single.gone(t, before) })
	}
}

// The labs of the suite: two Nodes on different networks, the same with a third Node, and a single
// Node.
const (
	header = `apiVersion: netlab/v1alpha1
kind: Lab
networks:
  - {name: lan, cidr: 172.30.0.0/24, mtu: 1500}
  - {name: storage, cidr: 172.31.0.0/24, mtu: 1400}
  - {name: wan, cidr: 203.0.113.0/24}
hosts:
  - {name: router, role: router, networks: [lan, wan]}
  - {name: client, role: client, networks: [lan]}
  - {name: internet, role: internet, networks: [wan]}
`
	bare = `loadBalancer: {name: none}
ingress: {name: none}
`
	two = header + `nodes:
  - {name: cp, role: control-plane, networks: [lan]}
  - {name: a, role: worker, networks: [lan, storage]}
`
	three = two + `  - {name: b, role: worker, networks: [lan]}
`
	one = header + `nodes:
  - {name: cp, role: control-plane, networks: [lan]}
`
)

func (s Suite) plan(t *testing.T, text string, name labs.Name) topology.Plan {
	t.Helper()
	known := s.Software.Known()
	known.Providers = []string{s.Provider}
	if own, ok := s.New().(providers.Configurable); ok {
		known.Sections = map[string]labs.Section{s.Provider: own.Section()}
	}
	text += "provider: " + s.Provider + "\nmetadata: {name: " + name.Label() + "}\n" + cmp.Or(s.Lab, bare)
	if cni := os.Getenv(envCNI); cni != "" {
		text += "cni: " + cni + "\n"
	}
	l, err := labs.Load("providertest.yaml", []byte(text), known)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.Build(l)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// lab is one lab of the suite.
type lab struct {
	Suite
	root      providers.Root
	dir       string
	plan      topology.Plan
	artifacts components.Artifacts
	parts     []components.Rendered
	running   providers.Running
}

// open resolves a lab's software and builds what the cache lacks.
func (s Suite) open(t *testing.T, root providers.Root, text string, name labs.Name) *lab {
	t.Helper()
	l := &lab{Suite: s, root: root, dir: root.Dir(name), plan: s.plan(t, text, name)}
	step := func(string) func(error) { return func(error) {} }
	set, obtained := s.Software.Obtain(t, l.plan, step)
	l.artifacts = obtained
	var err error
	if l.parts, err = set.Render(obtained); err != nil {
		t.Fatal(err)
	}
	return l
}

// request returns the Request for Create; every progress step must finish without an error.
func (l *lab) request(t *testing.T) providers.Request {
	return providers.Request{Plan: l.plan, Artifacts: l.artifacts, Dir: l.dir, APIPort: l.running.APIPort,
		Step: func(name string) func(error) {
			return func(err error) {
				if err != nil {
					t.Errorf("step %s: %v", name, err)
				}
			}
		}}
}

// up is the whole of providers.Up.
func (l *lab) up(ctx context.Context, t *testing.T) error {
	running, err := providers.Up(ctx, l.root, l.New(), l.request(t), l.parts, filepath.Join(l.dir, "lab.yaml"),
		func(context.Context, providers.Running) error { return nil })
	l.running = running
	return err
}

// removeKilled removes what a killed test left of the lab.
func (l *lab) removeKilled(t *testing.T) {
	t.Helper()
	killed := *l
	killed.root = rootOf(t, providers.DefaultOwners, l.root, l.plan.Lab.Label())
	killed.remove(t)
	if err := providers.DefaultOwners.Remove(l.plan.Lab); err != nil {
		t.Error(err)
	}
}

func (l *lab) remove(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), l.limit())
	defer cancel()
	if err := providers.Down(ctx, l.root, l.plan.Lab, l.New()); err != nil {
		t.Errorf("delete: %v", err)
	}
}
