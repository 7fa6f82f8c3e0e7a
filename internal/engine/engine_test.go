package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/compare"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// fake is a provider that remembers what it was asked, and finds labs by its own label.
type fake struct {
	name     string
	asked    *[]string // "kind: delete a", of all providers in order
	finds    []labs.Name
	attached error
	deletes  error
}

func (f *fake) note(what string, lab labs.Name) {
	*f.asked = append(*f.asked, f.name+": "+what+" "+lab.String())
}

func (f *fake) Check(context.Context, topology.Plan) error { return nil }

func (f *fake) Create(_ context.Context, req providers.Request) (providers.Running, error) {
	f.note("create", req.Plan.Lab)
	return providers.Running{}, errors.New("nothing is made here")
}

func (f *fake) Attach(_ context.Context, plan topology.Plan, _ string) (providers.Running, error) {
	f.note("attach", plan.Lab)
	return providers.Running{Plan: plan, Machines: map[string]providers.Machine{"cp": nil}}, f.attached
}

func (f *fake) Delete(_ context.Context, lab labs.Name, _ string) error {
	f.note("delete", lab)
	return f.deletes
}

func (f *fake) Stop(_ context.Context, lab labs.Name, _ string) error {
	f.note("stop", lab)
	return nil
}

func (f *fake) Find() ([]labs.Name, error) { return f.finds, nil }

// bench is an engine whose providers are fakes, with what they were asked.
type bench struct {
	Engine
	asked *[]string
	fakes map[string]*fake
}

func newBench(t *testing.T) bench {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "kubeconfig"))
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	b := bench{asked: new([]string), fakes: map[string]*fake{}}
	b.Engine = Engine{Root: providers.Root(t.TempDir()), Catalog: catalog, Software: artifacts.Cache{Dir: t.TempDir(), Self: os.Args[0], Sources: []artifacts.Source{artifacts.Build}}}
	for _, p := range Providers() {
		b.fakes[p.Name] = &fake{name: p.Name, asked: b.asked}
		b.Providers = append(b.Providers, Provider{p.Name, b.fakes[p.Name]})
	}
	return b
}

// lab writes the state of a lab.
func (b bench) lab(t *testing.T, name, provider, phase string) labs.Name {
	t.Helper()
	lab := labs.MustName(name)
	plan, err := topology.Build(labs.Default(lab, b.Known()))
	if err != nil {
		t.Fatal(err)
	}
	plan.Provider = provider
	if err := b.Root.Write(providers.State{Plan: plan, Phase: phase, File: "/labs/" + name + ".yaml"}); err != nil {
		t.Fatal(err)
	}
	return lab
}

func (b bench) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(*b.asked, want) {
		t.Errorf("%s asked the providers\n%s\nwant\n%s", what, strings.Join(*b.asked, "\n"), strings.Join(want, "\n"))
	}
	*b.asked = nil
}

// failsWith checks the text of an error and of its hints.
func failsWith(t *testing.T, err error, want, todo string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(strings.Join(hint.Of(err), "\n"), todo) {
		t.Errorf("%v\nhints %q\nwant %s; %s", err, hint.Of(err), want, todo)
	}
}

// The provider that created a lab removes it; for a lab without state each looks for its part, and
// netns, which takes away what the others go by, comes last.
func TestDown(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "kind", providers.PhaseUp)
	if result, err := b.Down(ctx, a); err != nil || !result.Found {
		t.Errorf("down: %+v (%v)", result, err)
	}
	b.expect(t, "down", "kind: delete a")
	if result, err := b.Down(ctx, a); err != nil || result.Found {
		t.Errorf("down again: %+v (%v)", result, err)
	}
	b.expect(t, "down without a lab", "libvirt: delete a", "kind: delete a", "netns: delete a")

	b.fakes["netns"].finds = []labs.Name{a}
	if result, err := b.Down(ctx, a); err != nil || !result.Found {
		t.Errorf("down without state: %+v (%v)", result, err)
	}
	b.expect(t, "down without state", "libvirt: delete a", "kind: delete a", "netns: delete a")

	b.fakes["kind"].deletes = errors.New("docker is away")
	_, err := b.Down(ctx, a)
	failsWith(t, err, "docker is away", "")
	b.expect(t, "a down that fails at kind's part", "libvirt: delete a", "kind: delete a", "netns: delete a")

	b.lab(t, "a", "kind", providers.PhaseUp)
	_, err = b.Down(ctx, a)
	failsWith(t, err, "docker is away", "")
	if state, err := b.Root.Read(a); err != nil || state.Phase != providers.PhaseDeleting {
		t.Errorf("something is left of the lab, and its state is %+v (%v)", state, err)
	}
	b.expect(t, "a down that fails", "kind: delete a")

	if _, err := b.Down(ctx, labs.Name{}); err == nil {
		t.Error("the zero Name is taken down")
	}
	b.expect(t, "down of no lab")
}

// A lab of another version is refused by everything but Down, which works by its outline.
func TestOtherVersion(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := labs.MustName("a")
	write := func(provider string) {
		t.Helper()
		text := `{"plan": {"lab": "a", "provider": "` + provider + `", "machines": "of another form"}, "file": "/labs/a.yaml", "phase": "up"}`
		if err := errors.Join(os.MkdirAll(b.Root.Dir(a), 0o755), os.WriteFile(filepath.Join(b.Root.Dir(a), "state.json"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("kind")
	set, err := b.Default()
	if err != nil {
		t.Fatal(err)
	}
	set.Plan.Lab = a
	_, machineErr := b.Machine(ctx, a, "cp")
	_, statusErr := b.Status(ctx, a)
	_, stopErr := b.Stop(ctx, a)
	_, startErr := b.Start(ctx, a, nil)
	_, verifyErr := b.Verify(ctx, a, VerifyOptions{}, nil)
	_, snapshotsErr := b.Snapshots(a)
	_, changesErr := b.Changes(ctx, set.Plan, Manifests{})
	_, beforeErr := b.before(ctx, set.Plan, Manifests{})
	for what, err := range map[string]error{"exec": machineErr, "status": statusErr, "stop": stopErr, "start": startErr, "verify": verifyErr,
		"snapshot": snapshotsErr, "plan": changesErr, "up": beforeErr, "compare": b.Strangers([]Variation{{Variant: compare.Variant{Lab: set.Plan.Lab, File: "a.yaml"}, Set: set}}, nil)} {
		t.Run(what, func(t *testing.T) {
			failsWith(t, err, "lab a was made by an earlier version of netlab", "`netlab down a` removes the lab")
		})
	}
	b.expect(t, "all of that")
	if all, err := b.Labs(); err != nil || len(all) != 1 || all[0].Lab != a || all[0].Provider != "kind" || all[0].Phase != providers.PhaseUp {
		t.Errorf("list: %+v (%v)", all, err)
	}
	if result, err := b.Down(ctx, a); err != nil || !result.Found {
		t.Errorf("down: %+v (%v)", result, err)
	}
	b.expect(t, "down", "kind: delete a")
	write("bare-metal") // which this netlab does not have
	if result, err := b.Down(ctx, a); err != nil || !result.Found {
		t.Errorf("down: %+v (%v)", result, err)
	}
	b.expect(t, "down", "libvirt: delete a", "kind: delete a", "netns: delete a")
}

// A lab that is found only by its label is orphaned.
func TestLabs(t *testing.T) {
	b := newBench(t)
	b.lab(t, "c", "netns", providers.PhaseStopped)
	b.fakes["libvirt"].finds = []labs.Name{labs.MustName("b"), labs.MustName("c")}
	b.fakes["netns"].finds = []labs.Name{labs.MustName("b")}
	all, err := b.Labs()
	if err != nil || len(all) != 2 || all[0].Lab != labs.MustName("b") || all[0].Phase != "orphaned" || all[1].Phase != providers.PhaseStopped {
		t.Errorf("%+v (%v)", all, err)
	}
	if only, err := b.Only(); err != nil || only != labs.MustName("c") {
		t.Errorf("the only lab is %v (%v)", only, err)
	}
	_, err = b.State(labs.MustName("b"))
	failsWith(t, err, "lab b not found", "labs of this machine: c")
	failsWith(t, b.refuseStranger(labs.MustName("b")), "parts of lab b exist on this machine", "`netlab down b`")
	if err := b.refuseStranger(labs.MustName("d")); err != nil {
		t.Errorf("a lab of which there is nothing: %v", err)
	}
}

// A lab of another state directory is listed, and stays.
func TestElsewhere(t *testing.T) {
	b, lab := newBench(t), labs.MustName("a")
	b.Owners = providers.Owners(t.TempDir())
	other := providers.Root(t.TempDir())
	if err := errors.Join(other.Claim(lab), b.Owners.Set(lab, other)); err != nil {
		t.Fatal(err)
	}
	b.fakes["netns"].finds = []labs.Name{lab}
	if all, err := b.Labs(); err != nil || len(all) != 1 || !all[0].Elsewhere() || all[0].File != string(other) {
		t.Errorf("list: %+v (%v)", all, err)
	}
	if all, err := b.All(); err != nil || len(all) != 0 {
		t.Errorf("all: %v (%v)", all, err)
	}
	_, err := b.Down(t.Context(), lab)
	failsWith(t, err, "lab a belongs to the state directory "+string(other), "`NETLAB_STATE_DIR='"+string(other)+"' netlab down a` removes it")
	failsWith(t, b.refuseStranger(lab), "lab a belongs to the state directory "+string(other), "`NETLAB_STATE_DIR='"+string(other)+"' netlab down a` removes it")
	b.expect(t, "all of that")
	if err := other.RemoveDir(lab); err != nil {
		t.Fatal(err)
	}
	if result, err := b.Down(t.Context(), lab); err != nil || !result.Found {
		t.Errorf("down of a lab whose state was lost: %+v (%v)", result, err)
	}
	if left, err := os.ReadDir(string(b.Owners)); err == nil && len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A stopped lab has an owner as long as parts of it exist.
func TestOwnerOfAStoppedLab(t *testing.T) {
	for _, found := range [][]labs.Name{nil, {labs.MustName("a")}} {
		b := newBench(t)
		b.Owners = providers.Owners(t.TempDir())
		a := b.lab(t, "a", "netns", providers.PhaseUp)
		if err := b.Owners.Set(a, b.Root); err != nil {
			t.Fatal(err)
		}
		b.fakes["netns"].finds = found
		if _, err := b.Stop(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if _, known := b.Owners.Other(a, providers.Root(t.TempDir())); known != (len(found) > 0) {
			t.Errorf("with the parts %v it has an owner: %t", found, known)
		}
	}
}

func TestStop(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	if already, err := b.Stop(ctx, a); err != nil || already {
		t.Errorf("stop: %t (%v)", already, err)
	}
	b.expect(t, "stop", "netns: stop a")
	if already, err := b.Stop(ctx, a); err != nil || !already {
		t.Errorf("stop again: %t (%v)", already, err)
	}
	b.expect(t, "stop again")
	_, err := b.Machine(ctx, a, "cp")
	failsWith(t, err, "lab a is stopped", "`netlab start a`")
	s, err := b.Status(ctx, a)
	if err != nil || s.Phase != providers.PhaseStopped || len(s.Machines) == 0 || s.Machines[0].Running || len(s.Problems) != 1 {
		t.Errorf("status: %+v (%v)", s, err)
	}
	release, err := b.Root.Lock(a, false)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	_, err = b.Stop(ctx, a)
	failsWith(t, err, fmt.Sprintf("lab a is in use by process %d", os.Getpid()), "wait for it")
}

// A verification waits for another one of the same lab, and names its process; so does an `up` that
// changes the lab. Side by side they would delete each other's policies.
func TestVerificationsWait(t *testing.T) {
	b := newBench(t)
	a := b.lab(t, "a", "netns", providers.PhaseStopped)
	release, err := b.Root.LockVerify(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	noted := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		_, err := b.Verify(t.Context(), a, VerifyOptions{}, notes(noted))
		done <- err
	}()
	select {
	case said := <-noted:
		if want := fmt.Sprintf("waiting for process %d", os.Getpid()); !strings.HasPrefix(said, want) {
			t.Errorf("it says %q, want %q", said, want)
		}
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	}
	release()
	failsWith(t, <-done, "lab a is stopped", "")
}

// notes is a Progress whose notes are sent to a channel.
type notes chan string

func (n notes) Step(string) func(error)                     { return func(error) {} }
func (n notes) Changing(string) (func(error), func(string)) { return func(error) {}, func(string) {} }
func (n notes) Note(text string)                            { n <- text }
func (n notes) Warn(string)                                 {}

func TestMachine(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	if _, err := b.Machine(ctx, a, "cp"); err != nil {
		t.Error(err)
	}
	_, err := b.Machine(ctx, a, "nobody")
	failsWith(t, err, `lab a has no machine "nobody"`, "its machines are cp, ")
	b.fakes["netns"].attached = providers.Off(topology.Machine{Kind: topology.KindNode, Name: "w1"})
	if _, err := b.Machine(ctx, a, "cp"); err != nil {
		t.Errorf("a running Node next to one that is off: %v", err)
	}
	_, err = b.Machine(ctx, a, "w1")
	failsWith(t, err, "node w1 is off", "")
	// One that is off does not keep the others from being verified; an unknown state does.
	if _, err := b.Verify(ctx, a, VerifyOptions{}, nil); err == nil || strings.Contains(err.Error(), "is off") {
		t.Errorf("verify beside a machine that is off: %v", err)
	}
	b.fakes["netns"].attached = errors.New("docker does not answer")
	_, err = b.Verify(ctx, a, VerifyOptions{}, nil)
	failsWith(t, err, "docker does not answer", "")
}

func TestLogs(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	dir := filepath.Join(b.Root.Dir(a), "logs")
	for _, f := range []string{"cp/kubelet.log", "w1/kubelet.log", "client.log"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755), os.WriteFile(filepath.Join(dir, f), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// What a machine puts beside its logs leads to no file of this machine, and holds nobody up.
	if err := errors.Join(os.Symlink("/etc/shadow", filepath.Join(dir, "w1", "x.log")), unix.Mkfifo(filepath.Join(dir, "w1", "y.log"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w1/x.log", "w1/y.log", "../state.json"} {
		if f, err := (Log{name, dir}).Open(); err == nil {
			t.Errorf("%s is opened as a log", f.Name())
		}
	}
	for pattern, want := range map[string]string{"*": "cp/kubelet.log w1/kubelet.log client.log", "w1": "w1/kubelet.log", "client": "client.log"} {
		found, stale, err := b.Logs(ctx, a, pattern)
		var names []string
		for _, l := range found {
			names = append(names, l.Name)
		}
		if err != nil || stale != nil || strings.Join(names, " ") != want {
			t.Errorf("%s: %q (%v, %v), want %s", pattern, names, stale, err, want)
		}
	}
	for _, pattern := range []string{"nobody", "../..", "/etc"} {
		if found, _, err := b.Logs(ctx, a, pattern); err == nil {
			t.Errorf("%s: %v", pattern, found)
		}
	}
}

// Two labs of one name, and one that exists already, are refused before anything is created.
func TestStrangers(t *testing.T) {
	b := newBench(t)
	set, err := b.Default()
	if err != nil {
		t.Fatal(err)
	}
	of := func(file string) Variation {
		return Variation{Variant: compare.Variant{Lab: set.Plan.Lab, File: file}, Set: set}
	}
	if err := b.Strangers([]Variation{of("x.yaml"), of("x.yaml")}, nil); err != nil {
		t.Error(err)
	}
	failsWith(t, b.Strangers([]Variation{of("x.yaml"), of("y.yaml")}, nil), "y.yaml: another of these labs is named default too", "metadata.name")
	b.lab(t, "default", "netns", providers.PhaseUp)
	x := []Variation{of("x.yaml")}
	failsWith(t, b.Strangers(x, nil), "lab default already exists", "`netlab down default`")
	// The lab of an interrupted run is none; one that was made later, or before, is.
	state, err := b.Root.Read(set.Plan.Lab)
	if err != nil {
		t.Fatal(err)
	}
	for after, fine := range map[time.Duration]bool{time.Second: true, -time.Second: false, 2 * time.Minute: false} {
		err := b.Strangers(x, &compare.Underway{Lab: set.Plan.Lab, Began: state.Created.Add(-after)})
		if (err == nil) != fine {
			t.Errorf("a lab made %v after the run began: %v", after, err)
		}
	}
}

// A lab without changes stays as it is; what cannot be changed is removed.
func TestMakeRoom(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	state, err := b.State(a)
	if err != nil {
		t.Fatal(err)
	}
	state.Artifacts.Self = "/cache/netlab"
	for name, c := range map[string]struct {
		was   before
		kept  string
		asked []string
	}{
		"new":      {before{}, "", nil},
		"grows":    {before{known: true, state: state, changes: topology.Changes{Add: []string{"w3"}}}, "/cache/netlab", nil},
		"made new": {before{known: true, state: state, changes: topology.Changes{Remake: []string{"cni"}}}, "", []string{"netns: delete a"}},
	} {
		err := b.makeRoom(ctx, c.was, quiet{})
		if kept := c.was.kept(); err != nil || kept.Self != c.kept {
			t.Errorf("%s: kept %q (%v)", name, kept.Self, err)
		}
		b.expect(t, name, c.asked...)
	}
}

// quiet is a Progress that discards everything.
type quiet struct{}

func (quiet) Step(string) func(error) { return func(error) {} }
func (quiet) Changing(string) (func(error), func(string)) {
	return func(error) {}, func(string) {}
}
func (quiet) Note(string) {}
func (quiet) Warn(string) {}

// The providers of a lab file are those of the table, the default first.
func TestKnown(t *testing.T) {
	b := newBench(t)
	if got := b.Known().Providers; !slices.Equal(got, []string{"netns", "kind", "libvirt"}) {
		t.Errorf("%q", got)
	}
	_, err := b.provider("vmware")
	failsWith(t, err, `provider "vmware" not found`, "netns, kind, libvirt")
}

// A lab is replaced only if the user agrees, and so is one that another file made where machines
// would go; what has no loss needs no consent.
func TestAgreed(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, moved := file("a.yaml"), file("b.yaml"), filepath.Join(dir, "moved.yaml")
	remake, grows, shrinks := topology.Changes{Remake: []string{"cni"}}, topology.Changes{Add: []string{"w3"}}, topology.Changes{Remove: []string{"w2"}}
	for name, c := range map[string]struct {
		known, phase, from string
		changes            topology.Changes
		want               string
	}{
		"no such lab":                {"", "", "", remake, ""},
		"recreated":                  {"yes", providers.PhaseUp, a, remake, "recreates the cluster and requires --remake"},
		"stopped":                    {"yes", providers.PhaseStopped, a, remake, "requires --remake"},
		"interrupted":                {"yes", providers.PhaseCreating, a, remake, "requires --remake"},
		"half removed":               {"yes", providers.PhaseDeleting, a, remake, ""},
		"grows":                      {"yes", providers.PhaseUp, a, grows, ""},
		"shrinks":                    {"yes", providers.PhaseUp, a, shrinks, ""},
		"another file, the same lab": {"yes", providers.PhaseUp, b, topology.Changes{}, ""},
		"another file, grows":        {"yes", providers.PhaseUp, b, grows, ""},
		"another file, shrinks":      {"yes", providers.PhaseUp, b, shrinks, "replaces lab a, which was made from " + b},
		"another file":               {"yes", providers.PhaseUp, b, remake, "replaces lab a, which was made from " + b},
		"moved":                      {"yes", providers.PhaseUp, moved, shrinks, ""},
	} {
		was := before{known: c.known != "", changes: c.changes}
		was.state.Plan.Lab, was.state.File, was.state.Phase = labs.MustName("a"), c.from, c.phase
		err := was.agreed(UpOptions{File: a})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		for _, yes := range []bool{true, false} {
			err := was.agreed(UpOptions{File: a, Agree: func(topology.Changes) bool { return yes }})
			if (err != nil) != (!yes && c.want != "") {
				t.Errorf("%s, the user says %t: %v", name, yes, err)
			}
		}
	}
}

// Software that cannot be obtained leaves the lab as it is.
func TestObtainFirst(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	a := b.lab(t, "a", "netns", providers.PhaseUp)
	plan := labs.Default(a, b.Known())
	plan.CNI = labs.CNI{Name: "calico"}
	built, err := topology.Build(plan)
	if err != nil {
		t.Fatal(err)
	}
	set, err := b.Catalog.Resolve(built)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	agree := func(topology.Changes) bool {
		cancel() // Ctrl-C while the software is obtained
		return true
	}
	_, err = b.Up(ctx, set, UpOptions{File: "/labs/a.yaml", Agree: agree}, quiet{})
	failsWith(t, err, "stopped", "lab a was not changed")
	for _, asked := range *b.asked {
		if strings.HasSuffix(asked, "delete a") || strings.HasSuffix(asked, "create a") {
			t.Errorf("the lab was touched: %s (%v)", asked, err)
		}
	}
	if state, err := b.State(a); err != nil || state.Phase != providers.PhaseUp {
		t.Errorf("state: %s (%v)", state.Phase, err)
	}
}
