package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

// The test binary acts as netlab in Machine.Command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		os.Exit(CommandMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == RemoteVerb {
		os.Exit(RemoteMain(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// vms is a lab of two virtual machines, with the request for its provider.
type vms struct {
	images string
	req    providers.Request
	before residue.Snapshot
}

func newVMs(t *testing.T, name string, change ...func(*labs.Lab)) vms {
	t.Helper()
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := labstest.Known()
	known.Kubernetes, known.Providers = catalog.Known().Kubernetes, []string{"libvirt"}
	known.Sections = map[string]labs.Section{"libvirt": settings.Section()}
	lab := labs.Default(labs.MustName(name), known)
	lab.Networks[1].MTU = 1400
	lab.Nodes[1].Count, lab.Nodes[1].Networks = 0, []string{"lan", "wan"}
	size := sizeIn(lab)
	size.Images, size.CPUs, size.Memory = d.Images, 1, 1<<30
	for _, c := range change {
		c(&lab)
	}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	v := vms{images: d.Images, req: providers.Request{Plan: plan, Dir: filepath.Join(t.TempDir(), plan.Lab.Label()), Step: func(string) func(error) { return func(error) {} }}}
	_, v.req.Artifacts = providertest.SoftwareOf(t, providertest.Netlab(t)).Obtain(t, plan, v.req.Step)
	v.delete(t) // what a killed test left
	if v.before, err = residue.Take(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.delete(t) })
	return v
}

// sizeIn returns the settings in a lab.
func sizeIn(lab labs.Lab) *settings.Libvirt { return lab.Sections["libvirt"].(*settings.Libvirt) }

func (v vms) delete(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := providers.Down(ctx, providers.Root(filepath.Dir(v.req.Dir)), v.req.Plan.Lab, Provider{}); err != nil {
		t.Error(err)
	}
}

// gone removes the lab and checks that nothing of it is left.
func (v vms) gone(t *testing.T) {
	t.Helper()
	v.delete(t)
	v.nothingLeft(t)
}

// nothingLeft: no domain, no pool, no volume, no link, no process, no file.
func (v vms) nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(v.images); err != nil || len(left) > 0 {
		t.Errorf("left of the pool: %v (%v)", left, err)
	}
	if found, err := (Provider{}).Find(); err != nil || len(found) > 0 {
		t.Errorf("left: domains or pools of %v (%v)", found, err)
	}
	if _, err := os.Stat(v.req.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state is still there (%v)", err)
	}
	providertest.NothingLeft(t, v.before, v.req.Plan.Lab.Label())
}

func run(t *testing.T, m providers.Machine, argv ...string) string {
	t.Helper()
	out, err := command.Run(m.Command(t.Context(), argv...))
	if err != nil {
		t.Errorf("%v", err)
	}
	return string(out)
}

// TestNeverBoots: a machine without a file system says so on its console, the error shows
// it, and nothing stays.
func TestNeverBoots(t *testing.T) {
	v := newVMs(t, "nlt-unbootable")
	v.req.Artifacts.Disk.Root = filepath.Join(t.TempDir(), "root.img")
	if err := os.WriteFile(v.req.Artifacts.Disk.Root, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Provider{}.Create(t.Context(), v.req)
	if err == nil || !strings.Contains(err.Error(), "stopped before it accepts SSH connections") || !strings.Contains(err.Error(), "stage1: mount /dev/vda: invalid argument") {
		t.Errorf("create says %v", err)
	}
	v.gone(t)
}
