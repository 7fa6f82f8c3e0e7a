package pulumi

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/labs"
)

// invokeGetLab finds a lab of this machine, whoever made it.
func (p *Provider) invokeGetLab(ctx context.Context, req plugin.InvokeRequest) (answer plugin.InvokeResponse, err error) {
	v, err := read(req.Args)
	if err != nil {
		return answer, err
	}
	if answer.Failures = v.formed(getLabInputs()); len(answer.Failures) > 0 {
		return answer, nil
	}
	name, _ := v.tree[nameProperty].(string)
	lab, err := labs.ParseName(name)
	if err != nil {
		return answer, err
	}
	state, err := p.engine.State(lab)
	if err != nil {
		return answer, err
	}
	if answer.Properties, err = p.outputs(ctx, state, resource.PropertyMap{}, v.secret); err != nil {
		return answer, err
	}
	problems, err := p.problems(ctx, state)
	if err != nil {
		return answer, err
	}
	answer.Properties[problemsProperty], err = property(problems)
	return answer, err
}
