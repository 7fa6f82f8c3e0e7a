package pulumi

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// fake is a provider of labs that makes nothing, and has snapshots.
type fake struct {
	deleted []string
	deletes error
	saved   []providers.Snapshot
}

func (f *fake) Check(context.Context, topology.Plan) error { return nil }

func (f *fake) Create(context.Context, providers.Request) (providers.Running, error) {
	return providers.Running{}, errors.New("nothing is made here")
}

func (f *fake) Attach(_ context.Context, plan topology.Plan, _ string) (providers.Running, error) {
	return providers.Running{Plan: plan}, nil
}

func (f *fake) Delete(_ context.Context, lab labs.Name, _ string) error {
	f.deleted = append(f.deleted, lab.String())
	return f.deletes
}

func (f *fake) Save(_ context.Context, _ topology.Plan, _, name string) error {
	f.saved = append(f.saved, providers.Snapshot{Name: name, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Bytes: 1 << 30})
	return nil
}

func (f *fake) Restore(context.Context, topology.Plan, string, string) (off bool, err error) {
	return false, nil
}

var _ providers.Snapshotter = (*fake)(nil)

func (f *fake) Snapshots(string) ([]providers.Snapshot, error) { return f.saved, nil }

// faked puts a fake in place of every provider of labs.
func (s served) faked(t *testing.T) *fake {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "kubeconfig"))
	f := new(fake)
	s.provider.engine.Providers = nil
	for _, p := range s.engine.Providers {
		s.provider.engine.Providers = append(s.provider.engine.Providers, engine.Provider{Name: p.Name, Provider: f})
	}
	return f
}

func (s served) remove(t *testing.T, of tokens.Type, id string) error {
	t.Helper()
	_, err := s.Delete(t.Context(), &pulumirpc.DeleteRequest{Id: id, Urn: urn(of)})
	return err
}

// TestDelete: a Lab is removed with the file that was written for it, one that is gone already is no
// error, and one that could not be removed stays.
func TestDelete(t *testing.T) {
	s := serve(t)
	f := s.faked(t)
	s.exists(t, small, providers.PhaseUp)
	name := labs.MustName("small")
	kept := s.provider.kept(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(kept), 0o700), os.WriteFile(kept, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	f.deletes = errors.New("the hypervisor is away")
	if err := s.remove(t, labType, "small"); err == nil || !strings.Contains(err.Error(), "the hypervisor is away") {
		t.Errorf("a removal that fails: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	f.deletes, f.deleted = nil, nil
	if err := s.remove(t, verificationType, "small"); err != nil || len(f.deleted) > 0 {
		t.Errorf("a verification: %v, removed %v", err, f.deleted)
	}
	if err := s.remove(t, labType, "small"); err != nil || !slices.Equal(f.deleted, []string{"small"}) {
		t.Errorf("%v, removed %v", err, f.deleted)
	}
	if _, err := s.engine.Root.Read(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state: %v", err)
	}
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its file: %v", err)
	}
	if err := s.remove(t, labType, "small"); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestSnapshot is the life of a Snapshot: it is found, imported, and stays with its lab.
func TestSnapshot(t *testing.T) {
	s := serve(t)
	s.faked(t)
	create := func(text string) (*pulumirpc.CreateResponse, error) {
		return s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(snapshotType), Properties: marshal(t, properties(t, text))})
	}
	if _, err := create("lab: small\nname: fresh"); err == nil || !strings.Contains(err.Error(), "lab small not found") {
		t.Errorf("of no lab: %v", err)
	}
	s.exists(t, small, providers.PhaseUp)
	if _, err := create("lab: small\nname: ../fresh"); err == nil || !strings.Contains(err.Error(), `snapshot name "../fresh" is not valid; use at most`) {
		t.Errorf("of a wrong name: %v", err)
	}
	made, err := create("lab: small\nname: fresh")
	if err != nil || made.Id != "small/fresh" {
		t.Fatalf("%v (%v)", made, err)
	}
	if out := unmarshal(t, made.Properties); out[createdProperty].StringValue() != "2026-01-02T03:04:05Z" || out[bytesProperty].NumberValue() != 1<<30 {
		t.Errorf("made: %v", out)
	}
	for id, there := range map[string]bool{"small/fresh": true, "small/other": false, "gone/fresh": false} {
		read, err := s.Read(t.Context(), &pulumirpc.ReadRequest{Id: id, Urn: urn(snapshotType)})
		if err != nil || (read.Id == id) != there {
			t.Errorf("import of %s: %v (%v)", id, read, err)
			continue
		}
		if inputs := unmarshal(t, read.Inputs); there && !inputs.DeepEquals(properties(t, "lab: small\nname: fresh")) {
			t.Errorf("imported with %v", inputs)
		}
	}
	*s.said = nil
	if err := s.remove(t, snapshotType, "small/fresh"); err != nil || !strings.Contains(strings.Join(*s.said, "\n"), "snapshot fresh stays until lab small is removed") {
		t.Errorf("%v, said %v", err, *s.said)
	}
	if _, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "small/fresh", Urn: urn(snapshotType), News: marshal(t, properties(t, "lab: small\nname: other"))}); err == nil {
		t.Error("a Snapshot is updated in place")
	}
}

// TestStopped: what waits for its turn ends with its own limit, and when Pulumi cancels the command.
func TestStopped(t *testing.T) {
	s := serve(t)
	s.faked(t)
	s.exists(t, small, providers.PhaseUp)
	release, err := s.provider.alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	new := marshal(t, properties(t, small))
	changes := map[string]func(limit float64) error{
		"create": func(limit float64) error {
			_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(labType), Properties: new, Timeout: limit})
			return err
		},
		"update": func(limit float64) error {
			_, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "small", Urn: urn(labType), News: new, Timeout: limit})
			return err
		},
		"delete": func(limit float64) error {
			_, err := s.Delete(t.Context(), &pulumirpc.DeleteRequest{Id: "small", Urn: urn(labType), Timeout: limit})
			return err
		},
	}
	for what, change := range changes {
		if err := change(0.05); err == nil || !strings.Contains(err.Error(), "not done within 50ms (customTimeouts)") {
			t.Errorf("%s after its limit: %v", what, err)
		}
	}
	ends := make(chan error)
	for _, change := range changes {
		go func() { ends <- change(3600) }()
	}
	if _, err := s.Cancel(t.Context(), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	for range changes {
		if err := <-ends; err == nil || !strings.Contains(err.Error(), errCancelled.Error()) {
			t.Errorf("after a cancellation: %v", err)
		}
	}
}
