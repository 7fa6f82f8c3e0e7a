package artifacts

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"netlab.dev/netlab/components"
)

// fromRegistry is the origin of what was pulled.
const fromRegistry = "registry"

const (
	askLimit  = 3 * time.Second  // for a registry to report whether it has an image
	pullLimit = 10 * time.Minute // for all of an image
)

// puller is the source of images that cannot be built here: the registry in an image's name.
// It uses the environment's proxies and no credentials.
type puller struct{ obtaining }

func (puller) name() string { return fromRegistry }

// unavailable is why an image is not available from its registry.
type unavailable struct {
	ref, registry string
	err           error
}

// Error is one line, whatever page a proxy answers with.
func (n unavailable) Error() string {
	why := strings.Join(strings.Fields(n.err.Error()), " ")
	if runes := []rune(why); len(runes) > 300 {
		why = string(runes[:300]) + "…"
	}
	return fmt.Sprintf("%s is not available from %s: %s", n.ref, n.registry, why)
}
func (n unavailable) Unwrap() error { return n.err }
func (n unavailable) Hint() string {
	return "let this machine reach " + n.registry + " (proxies of the environment are used), or recreate the lab without it"
}

var errOffline = errors.New("registries are not contacted: NETLAB_OFFLINE is set")

// fetch pulls by digest, which covers all that the image holds; its tag is only the name
// that it gets here. Its error is an unavailable if the registry is at fault.
func (p puller) fetch(ctx context.Context, image picture, dir string) (err error) {
	if image.Pull == "" {
		return errNotHere
	}
	ref, err := name.NewDigest(image.repository() + "@" + image.Pull)
	if err != nil {
		return err
	}
	refused := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return unavailable{image.ref, ref.RegistryStr(), err}
	}
	if p.Offline {
		return refused(errOffline)
	}
	if _, err := ask(ctx, ref, askLimit); err != nil {
		return refused(err)
	}
	done := p.step("pull " + image.ref)
	defer func() { done(err) }()
	limited, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("timed out after %s", pullLimit))
	defer cancel()
	img, err := remote.Image(ref, pulling(limited)...)
	if err != nil {
		return refused(caused(limited, err))
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{imageNameAnnotation: image.ref})); err != nil {
		return refused(caused(limited, err))
	}
	return nil
}

// ask looks up a reference at its registry, once and within a limit.
func ask(ctx context.Context, ref name.Reference, limit time.Duration) (v1.Descriptor, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %s waiting for an answer", limit))
	defer cancel()
	is, err := remote.Head(ref, pulling(ctx)...)
	if err != nil {
		return v1.Descriptor{}, caused(ctx, err)
	}
	return *is, nil
}

// caused replaces an error that came from the end of ctx by ctx's cause.
func caused(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pulling returns the options for requests to registries: no retries.
func pulling(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: architecture}),
		remote.WithUserAgent("netlab (" + runtime.Version() + ")"),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}
}

// pull pulls the optional images of a set, and returns by reference why one is not available:
// that is not an error unless running Nodes have the image.
func (o obtaining) pull(ctx context.Context, set []components.Component) (map[string]string, error) {
	lacking := map[string]string{}
	for _, k := range set {
		for _, i := range k.Images {
			if i.Optional == "" {
				continue
			}
			p := o.picture(k, i)
			made := len(o.Before.Images) > 0
			has := o.Before.Lacks(p.ref) == ""
			why := ""
			switch {
			case made && !has:
				why = o.Before.Lacks(p.ref)
			case !made:
				why = o.kernelLacks(k, i.Optional)
			}
			if why == "" {
				var refused unavailable
				_, err := o.image(ctx, p)
				switch {
				case err == nil:
				case !errors.As(err, &refused):
					return nil, err
				case has:
					return nil, fmt.Errorf("the lab's Nodes have it, so new Nodes require it: %w", refused)
				default:
					why = refused.Error()
				}
			}
			if why != "" {
				lacking[p.ref] = why
			}
		}
	}
	return lacking, nil
}

// kernelLacks returns what an optional image requires of the kernel and the kernel lacks.
func (o obtaining) kernelLacks(k components.Component, optional string) string {
	for _, n := range k.NeedsOf(optional) {
		if o.KernelHas != nil && !o.KernelHas(n.Option, n.Module) {
			return n.Error()
		}
	}
	return ""
}
