package pulumi

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
)

// TestPreview: before a lab is made, all is known but what only a running cluster has.
func TestPreview(t *testing.T) {
	s := serve(t)
	out, err := s.preview(t, labType, small+"nodes: [{name: cp, role: control-plane}, {name: w, role: worker}]")
	if err != nil {
		t.Fatal(err)
	}
	node := out[nodesProperty].ArrayValue()[1].ObjectValue()
	if node["name"].StringValue() != "w" || node["role"].StringValue() != "worker" || node["address"].StringValue() != "172.30.0.11" {
		t.Errorf("Node %v", node)
	}
	if hosts := out[hostsProperty].ArrayValue(); len(hosts) == 0 || hosts[0].ObjectValue()["role"].StringValue() != "router" {
		t.Errorf("outside hosts %v", hosts)
	}
	if out[nameProperty].StringValue() != "small" || out[planProperty].ObjectValue()["provider"].StringValue() != "netns" {
		t.Errorf("lab %v, provider of the plan %v", out[nameProperty], out[planProperty])
	}
	if k := out[kubeconfigProperty]; !k.ContainsSecrets() || !k.ContainsUnknowns() {
		t.Errorf("kubeconfig %v", k)
	}
	if !out[vipsProperty].IsComputed() || len(out[problemsProperty].ArrayValue()) > 0 {
		t.Errorf("VIPs %v, problems %v", out[vipsProperty], out[problemsProperty])
	}

	if out, err = s.preview(t, labType, "metadata: {name: '?'}"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []resource.PropertyKey{nameProperty, planProperty, nodesProperty} {
		if !out[key].IsComputed() {
			t.Errorf("of a lab whose name is not known yet, %s is %v", key, out[key])
		}
	}

	if out, err = s.preview(t, labType, "metadata: {name: '!hidden'}"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []resource.PropertyKey{"metadata", nameProperty, planProperty, nodesProperty, hostsProperty} {
		if !out[key].ContainsSecrets() {
			t.Errorf("of a lab whose name is a secret, %s is not: %v", key, out[key])
		}
	}

	if files, err := os.ReadDir(s.engine.Software.Dir); err != nil || len(files) > 0 {
		t.Errorf("a preview wrote %v (%v)", files, err)
	}
}

// TestPreviewUpdate: what an update in place keeps stays known.
func TestPreviewUpdate(t *testing.T) {
	s := serve(t)
	was := properties(t, small)
	was[kubeconfigProperty] = resource.MakeSecret(resource.NewStringProperty("clusters: []"))
	answer, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "small", Urn: urn(labType), Preview: true,
		OldInputs: marshal(t, properties(t, small)), Olds: marshal(t, was), News: marshal(t, properties(t, small+"hostAccess: true"))})
	if err != nil {
		t.Fatal(err)
	}
	out := unmarshal(t, answer.Properties)
	if !out[kubeconfigProperty].DeepEquals(was[kubeconfigProperty]) || !out[planProperty].ObjectValue()["hostAccess"].BoolValue() {
		t.Errorf("kubeconfig %v, plan %v", out[kubeconfigProperty], out[planProperty])
	}
}

// TestExists: a lab that is there is not taken over; it is imported.
func TestExists(t *testing.T) {
	s := serve(t)
	file := s.exists(t, small+"hostAccess: true\n", providers.PhaseStopped)
	_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(labType), Properties: marshal(t, properties(t, small))})
	if err == nil || !strings.Contains(err.Error(), "lab small already exists, made from "+file+"; import it") {
		t.Errorf("create: %v", err)
	}

	read, err := s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "small", Urn: urn(labType)})
	if err != nil {
		t.Fatal(err)
	}
	inputs, out := unmarshal(t, read.Inputs), unmarshal(t, read.Properties)
	if read.Id != "small" || !inputs.DeepEquals(properties(t, small+"hostAccess: true")) {
		t.Errorf("imported as %s with %v", read.Id, inputs)
	}
	if problems := out[problemsProperty].ArrayValue(); len(problems) != 1 || problems[0].StringValue() != "lab small is stopped; `netlab start small` starts it" {
		t.Errorf("problems %v", problems)
	}
	if out[nodesProperty].ArrayValue()[0].ObjectValue()["address"].StringValue() != "172.30.0.10" {
		t.Errorf("Nodes %v", out[nodesProperty])
	}

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "small", Urn: urn(labType)}); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("an import without the lab's file: %v", err)
	}
	// What is in the stack already needs no file.
	if read, err = s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "small", Urn: urn(labType), Inputs: marshal(t, inputs), Properties: marshal(t, out)}); err != nil || read.Id != "small" {
		t.Errorf("refresh without the lab's file: %v (%v)", read, err)
	}
}

// TestReadDrift: machines that are gone are problems, and a lab that is gone has no ID.
func TestReadDrift(t *testing.T) {
	s := serve(t)
	s.exists(t, small, providers.PhaseUp)
	for _, of := range []tokens.Type{labType, verificationType} {
		read, err := s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "small", Urn: urn(of), Inputs: marshal(t, properties(t, small)), Properties: marshal(t, properties(t, small))})
		if err != nil || read.Id != "small" {
			t.Fatalf("%s: %v (%v)", of, read, err)
		}
		if problems := unmarshal(t, read.Properties)[problemsProperty]; of == labType && (!problems.IsArray() || len(problems.ArrayValue()) == 0) {
			t.Errorf("a lab without machines has the problems %v", problems)
		}
		gone, err := s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "gone", Urn: urn(of), Properties: marshal(t, properties(t, small))})
		if err != nil || gone.Id != "" {
			t.Errorf("%s that is gone: %v (%v)", of, gone, err)
		}
	}
	if _, err := s.Read(t.Context(), &pulumirpc.ReadRequest{Id: "small", Urn: urn(verificationType)}); err == nil || !strings.Contains(err.Error(), "cannot be imported") {
		t.Errorf("import of a verification: %v", err)
	}
}

// TestGetLab finds a lab that somebody else made.
func TestGetLab(t *testing.T) {
	s := serve(t)
	s.exists(t, small, providers.PhaseStopped)
	answer, err := s.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: string(getLab), Args: marshal(t, properties(t, "name: small"))})
	if err != nil {
		t.Fatal(err)
	}
	out := unmarshal(t, answer.Return)
	if out[nameProperty].StringValue() != "small" || !out[kubeconfigProperty].IsSecret() || len(out[problemsProperty].ArrayValue()) != 1 {
		t.Errorf("getLab: %v", out)
	}
	if _, err = s.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: string(getLab), Args: marshal(t, properties(t, "name: other"))}); err == nil || !strings.Contains(err.Error(), "lab other not found; labs of this machine: small") {
		t.Errorf("getLab of none: %v", err)
	}
	if answer, err = s.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: string(getLab), Args: marshal(t, properties(t, "lab: other"))}); err != nil || len(answer.Failures) != 2 {
		t.Errorf("getLab without a name: %v (%v)", answer, err)
	}
}

// TestSnapshotSupport: a preview refuses a snapshot of a lab whose provider has none.
func TestSnapshotSupport(t *testing.T) {
	s := serve(t)
	if _, err := s.preview(t, snapshotType, "lab: small\nname: fresh"); err != nil {
		t.Errorf("of a lab that is made by the same update: %v", err)
	}
	s.exists(t, small+"provider: kind\n", providers.PhaseUp)
	if _, err := s.preview(t, snapshotType, "lab: small\nname: fresh"); err == nil || !strings.Contains(err.Error(), "provider kind does not support snapshots; use provider: netns or libvirt") {
		t.Errorf("of a lab of kind: %v", err)
	}
}

// TestLimits: an operation ends with its timeout, and with the command.
func TestLimits(t *testing.T) {
	p := New(engine.Engine{}, nil, semver.Version{}, nil)
	ctx, done := p.during(t.Context(), 0.01)
	defer done()
	<-ctx.Done()
	if err := because(ctx, errors.New("stopped")); err == nil || !strings.Contains(err.Error(), "not done within 10ms (customTimeouts)") {
		t.Errorf("after its limit: %v", err)
	}
	ctx, done = p.during(t.Context(), 3600)
	defer done()
	if err := because(ctx, errors.New("of itself")); err.Error() != "of itself" {
		t.Errorf("before its limit: %v", err)
	}
	release, err := p.alone(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	waiting := make(chan error)
	go func() { _, err := p.alone(ctx); waiting <- err }()
	select {
	case err := <-waiting:
		t.Fatalf("two operations change labs at once (%v)", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := p.SignalCancellation(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, errCancelled) || !errors.Is(context.Cause(ctx), errCancelled) {
		t.Errorf("after a cancellation: %v, %v", err, context.Cause(ctx))
	}
}

// TestUnready: that netlab is not beside the plugin is said before anything is done.
func TestUnready(t *testing.T) {
	s := serve(t)
	if info, err := s.GetPluginInfo(t.Context(), &emptypb.Empty{}); err != nil || info.Version != "1.2.3" {
		t.Errorf("%v (%v)", info, err)
	}
	p := New(s.engine, hint.With(errors.New("netlab is not on PATH"), "put it there"), semver.Version{}, nil)
	if _, err := p.Configure(t.Context(), plugin.ConfigureRequest{}); err == nil || err.Error() != "netlab is not on PATH; put it there" {
		t.Errorf("configure: %v", err)
	}
}

// initFailed is what an error says of a resource that was made and is not as it should be; nil if it
// says that there is none.
func initFailed(err error) *pulumirpc.ErrorResourceInitFailed {
	for _, detail := range status.Convert(err).Details() {
		if failed, is := detail.(*pulumirpc.ErrorResourceInitFailed); is {
			return failed
		}
	}
	return nil
}

// TestIncomplete: an error in the middle is recorded with the lab that is there by then; one before
// anything was made is not. Nothing may be built here, so that every Up ends with an error.
func TestIncomplete(t *testing.T) {
	s := serve(t)
	create := func() error {
		_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(labType), Properties: marshal(t, properties(t, small))})
		return err
	}
	if err := create(); err == nil || initFailed(err) != nil {
		t.Errorf("create: %v, recorded %v", err, initFailed(err))
	}
	s.exists(t, small, providers.PhaseCreating)
	if err := create(); err == nil || initFailed(err) != nil {
		t.Errorf("create of somebody else's lab: %v, recorded %v", err, initFailed(err))
	}
	_, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "small", Urn: urn(labType), News: marshal(t, properties(t, small+"hostAccess: true"))})
	failed := initFailed(err)
	if failed == nil || failed.Id != "small" || len(failed.Reasons) == 0 {
		t.Fatalf("update: %v, recorded %v", err, failed)
	}
	out := unmarshal(t, failed.Properties)
	if out[planProperty].ObjectValue()["hostAccess"].BoolValue() || len(out[problemsProperty].ArrayValue()) != 1 || !out[kubeconfigProperty].IsSecret() {
		t.Errorf("recorded outputs %v", out)
	}
	if !unmarshal(t, failed.Inputs)["hostAccess"].BoolValue() {
		t.Errorf("recorded inputs %v", failed.Inputs)
	}
}
