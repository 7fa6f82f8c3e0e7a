// Package pulumi makes labs resources of Pulumi: it is netlab behind Pulumi's provider protocol,
// as the program pulumi-resource-netlab. It turns properties into a lab file and calls the use
// cases of internal/engine behind `up`, `plan`, `verify`, `snapshot` and `down`; there is no second
// life cycle. What differs from the command line is who asks: a Diff in place of a question on a
// terminal, and a stack's state beside the lab's.
package pulumi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"netlab.dev/netlab/internal/engine"
)

// Host shows messages beside a resource of the running command. provider.HostClient is one.
type Host interface {
	Log(ctx context.Context, severity diag.Severity, of resource.URN, text string) error
	// LogStatus shows a message until the next one.
	LogStatus(ctx context.Context, severity diag.Severity, of resource.URN, text string) error
}

// Provider is the provider. Its methods may be called concurrently.
type Provider struct {
	plugin.UnimplementedProvider
	engine  engine.Engine
	unready error // why labs cannot be made: reported when the provider is configured
	version semver.Version
	host    Host // may be nil
	secrets secrets

	life   context.Context // until Pulumi cancels the command
	cancel context.CancelCauseFunc
	turn   chan struct{} // held by the operation that changes a lab: they take a whole machine
}

var _ plugin.Provider = (*Provider)(nil)

// New returns the provider of an engine. unready is why the engine cannot make labs, nil if it can.
func New(e engine.Engine, unready error, version semver.Version, host Host) *Provider {
	p := &Provider{engine: e, unready: unready, version: version, host: host, turn: make(chan struct{}, 1)}
	p.life, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// kind is how the resources of one type live. A nil function is that of a resource for which it
// never differs.
type kind struct {
	check  func(context.Context, values) ([]plugin.CheckFailure, error)
	diff   func(context.Context, plugin.DiffRequest) (plugin.DiffResponse, error)
	create func(context.Context, plugin.CreateRequest) (plugin.CreateResponse, error)
	read   func(context.Context, plugin.ReadRequest) (plugin.ReadResponse, error)
	update func(context.Context, plugin.UpdateRequest) (plugin.UpdateResponse, error)
	remove func(context.Context, plugin.DeleteRequest) error
}

// The types of resources, and the function.
const (
	labType          tokens.Type         = "netlab:index:Lab"
	verificationType tokens.Type         = "netlab:index:Verification"
	snapshotType     tokens.Type         = "netlab:index:Snapshot"
	getLab           tokens.ModuleMember = "netlab:index:getLab"
)

// kind returns how the resources of a type live.
func (p *Provider) kind(of tokens.Type) (kind, error) {
	switch of {
	case labType:
		return kind{p.checkLab, p.diffLab, p.createLab, p.readLab, p.updateLab, p.deleteLab}, nil
	case verificationType:
		return kind{p.checkVerification, p.diffVerification, p.createVerification, p.readVerification, p.updateVerification, p.forget}, nil
	case snapshotType:
		return kind{p.checkSnapshot, p.diffSnapshot, p.createSnapshot, p.readSnapshot, nil, p.deleteSnapshot}, nil
	}
	return kind{}, status.Errorf(codes.NotFound, "resource type %s not found; the types are %s, %s and %s", of, labType, verificationType, snapshotType)
}

// Handshake says what the provider understands. Secrets stay marked; a reference to a resource
// comes as its id, which is the name of the lab.
func (p *Provider) Handshake(context.Context, plugin.ProviderHandshakeRequest) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{AcceptSecrets: true}, nil
}

// GetPluginInfo returns the version.
func (p *Provider) GetPluginInfo(context.Context) (plugin.PluginInfo, error) {
	return plugin.PluginInfo{Version: &p.version}, nil
}

// GetSchema returns the package's schema.
func (p *Provider) GetSchema(context.Context, plugin.GetSchemaRequest) (plugin.GetSchemaResponse, error) {
	text, err := Schema(p.engine.Known(), p.version.String())
	return plugin.GetSchemaResponse{Schema: text}, err
}

// CheckConfig accepts every configuration: netlab is configured by the environment (NETLAB_STATE_DIR, …).
func (p *Provider) CheckConfig(_ context.Context, req plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	return plugin.CheckConfigResponse{Properties: req.News}, nil
}

// DiffConfig is that nothing differs.
func (p *Provider) DiffConfig(context.Context, plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	return plugin.DiffConfigResponse{Changes: plugin.DiffNone}, nil
}

// Configure reports what this machine lacks for any lab.
func (p *Provider) Configure(context.Context, plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	return plugin.ConfigureResponse{}, p.printable(p.unready)
}

// Check returns the problems of a resource's properties.
func (p *Provider) Check(ctx context.Context, req plugin.CheckRequest) (plugin.CheckResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	p.secrets.learn(req.News)
	given, err := read(req.News)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	failures, err := k.check(ctx, given)
	for i := range failures {
		failures[i].Reason = p.secrets.hide(failures[i].Reason)
	}
	return plugin.CheckResponse{Properties: req.News, Failures: failures}, p.printable(err)
}

// Diff says what an update would change.
func (p *Provider) Diff(ctx context.Context, req plugin.DiffRequest) (plugin.DiffResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.DiffResponse{}, err
	}
	p.secrets.learn(req.OldInputs, req.NewInputs)
	ctx, done := p.during(ctx, 0)
	defer done()
	diff, err := k.diff(ctx, req)
	return diff, p.printable(err)
}

// Create creates a resource.
func (p *Provider) Create(ctx context.Context, req plugin.CreateRequest) (plugin.CreateResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	p.secrets.learn(req.Properties)
	ctx, done := p.during(ctx, req.Timeout)
	defer done()
	if !req.Preview {
		release, err := p.alone(ctx)
		if err != nil {
			return plugin.CreateResponse{}, err
		}
		defer release()
	}
	made, err := k.create(ctx, req)
	return made, p.printable(err)
}

// Read finds what a resource is now; without an ID it is gone.
func (p *Provider) Read(ctx context.Context, req plugin.ReadRequest) (plugin.ReadResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.ReadResponse{}, err
	}
	p.secrets.learn(req.Inputs)
	ctx, done := p.during(ctx, req.Timeout)
	defer done()
	found, err := k.read(ctx, req)
	return found, p.printable(err)
}

// Update changes a resource in place.
func (p *Provider) Update(ctx context.Context, req plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.UpdateResponse{}, err
	}
	if k.update == nil {
		return plugin.UpdateResponse{}, fmt.Errorf("%s is never updated in place", req.Type)
	}
	p.secrets.learn(req.OldInputs, req.NewInputs)
	ctx, done := p.during(ctx, req.Timeout)
	defer done()
	if !req.Preview {
		release, err := p.alone(ctx)
		if err != nil {
			return plugin.UpdateResponse{}, err
		}
		defer release()
	}
	made, err := k.update(ctx, req)
	return made, p.printable(err)
}

// Delete removes a resource.
func (p *Provider) Delete(ctx context.Context, req plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	k, err := p.kind(req.Type)
	if err != nil {
		return plugin.DeleteResponse{}, err
	}
	ctx, done := p.during(ctx, req.Timeout)
	defer done()
	release, err := p.alone(ctx)
	if err != nil {
		return plugin.DeleteResponse{}, err
	}
	defer release()
	return plugin.DeleteResponse{}, p.printable(k.remove(ctx, req))
}

// Invoke calls getLab.
func (p *Provider) Invoke(ctx context.Context, req plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	if req.Tok != getLab {
		return plugin.InvokeResponse{}, status.Errorf(codes.NotFound, "function %s not found; there is %s", req.Tok, getLab)
	}
	p.secrets.learn(req.Args)
	ctx, done := p.during(ctx, 0)
	defer done()
	answer, err := p.invokeGetLab(ctx, req)
	return answer, p.printable(err)
}

// SignalCancellation stops what runs. A lab that was being made is left as after Ctrl-C of `netlab
// up`: the next update continues it.
func (p *Provider) SignalCancellation(context.Context) error {
	p.cancel(errCancelled)
	return nil
}

// Close does nothing: the process ends when Pulumi says so.
func (p *Provider) Close() error { return nil }

var errCancelled = errors.New("cancelled")

// during is the time of one operation: at most seconds (0 for no limit), and until the command is
// cancelled.
func (p *Provider) during(ctx context.Context, seconds float64) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.life, func() { cancel(context.Cause(p.life)) })
	done := func() { stop(); cancel(nil) }
	if seconds <= 0 {
		return ctx, done
	}
	limit := time.Duration(seconds * float64(time.Second))
	ctx, end := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s (customTimeouts)", limit))
	return ctx, func() { end(); done() }
}

// alone waits for the turn to change a lab.
func (p *Provider) alone(ctx context.Context) (release func(), err error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// forget removes a resource that is only a record.
func (p *Provider) forget(context.Context, plugin.DeleteRequest) error { return nil }
