package pulumi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"netlab.dev/netlab/internal/hint"
)

// printable puts an error's hints into its text, which is all that Pulumi prints, and hides secrets.
// Errors of Pulumi's protocol are returned unchanged.
func (p *Provider) printable(err error) error {
	if err == nil {
		return nil
	}
	if _, of := status.FromError(err); of {
		return err
	}
	var protocol *rpcerror.Error
	if errors.As(err, &protocol) {
		return err
	}
	return errors.New(p.secrets.hide(strings.Join(lines(err), "\n")))
}

// lines are the errors of a join, each with its hints.
func lines(err error) (all []string) {
	for _, e := range hint.Split(err) {
		all = append(all, strings.Join(append([]string{e.Error()}, hint.Of(e)...), "; "))
	}
	return all
}

// because adds to an error why its operation was stopped, if it was.
func because(ctx context.Context, err error) error {
	if why := context.Cause(ctx); err != nil && why != nil {
		return hint.With(fmt.Errorf("%w: %w", why, err), "the next `pulumi up` continues")
	}
	return err
}

// incomplete is the error for a resource that was made, or changed, and is not as it should be. Pulumi
// records it with its outputs, and updates it next time whatever Diff says.
func (p *Provider) incomplete(id resource.ID, inputs, outputs resource.PropertyMap, reasons []string) error {
	for i := range reasons {
		reasons[i] = p.secrets.hide(reasons[i])
	}
	options := plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepResources: true}
	detail := &pulumirpc.ErrorResourceInitFailed{Id: string(id), Reasons: reasons}
	var errs [2]error
	detail.Properties, errs[0] = plugin.MarshalProperties(outputs, options)
	detail.Inputs, errs[1] = plugin.MarshalProperties(inputs, options)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, strings.Join(reasons, "\n")), detail)
}
