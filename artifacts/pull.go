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
	askLimit  = 3 * time.Second  // for a registry to tell whether it has an image
	pullLimit = 10 * time.Minute // for all of an image
)

// puller is the source of what cannot be built here: the registry that an image's name
// begins with. Proxies are those of the environment, and nobody is logged in.
type puller struct{ obtaining }

func (puller) name() string { return fromRegistry }

// notHad is why an image is not to be had.
type notHad struct {
	ref, registry string
	err           error
}

// Error is one line, whatever page a proxy puts in the registry's place.
func (n notHad) Error() string {
	why := strings.Join(strings.Fields(n.err.Error()), " ")
	if runes := []rune(why); len(runes) > 300 {
		why = string(runes[:300]) + "…"
	}
	return fmt.Sprintf("%s is not to be had from %s: %s", n.ref, n.registry, why)
}
func (n notHad) Unwrap() error { return n.err }
func (n notHad) Hint() string {
	return "let this machine reach " + n.registry + " (proxies of the environment are used), or make the lab anew without it"
}

var errOffline = errors.New("no registry is asked, since NETLAB_OFFLINE is set")

// fetch pulls by digest, which covers all that the image holds; its tag is only the name
// that it gets here. Its error is a notHad where the registry is at fault.
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
		return notHad{image.ref, ref.RegistryStr(), err}
	}
	if p.Offline {
		return refused(errOffline)
	}
	if _, err := ask(ctx, ref, askLimit); err != nil {
		return refused(err)
	}
	done := p.step("pull " + image.ref)
	defer func() { done(err) }()
	limited, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("it did not end within %s", pullLimit))
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

// ask finds out, once and within a limit, what a registry has under a reference.
func ask(ctx context.Context, ref name.Reference, limit time.Duration) (v1.Descriptor, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not answer within %s", limit))
	defer cancel()
	is, err := remote.Head(ref, pulling(ctx)...)
	if err != nil {
		return v1.Descriptor{}, caused(ctx, err)
	}
	return *is, nil
}

// caused puts the reason why ctx ended in the place of an error that came of it.
func caused(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pulling is how registries are asked: each question once.
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

// pull gets the optional images of a set, and tells by reference why one is not to be
// had: that is no error, unless the Nodes that run have it.
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
				var refused notHad
				_, err := o.image(ctx, p)
				switch {
				case err == nil:
				case !errors.As(err, &refused):
					return nil, err
				case has:
					return nil, fmt.Errorf("the lab's Nodes have it, and those to come need it: %w", refused)
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

// kernelLacks says what an optional image needs of the kernel and does not find.
func (o obtaining) kernelLacks(k components.Component, optional string) string {
	for _, n := range k.NeedsOf(optional) {
		if o.KernelHas != nil && !o.KernelHas(n.Option, n.Module) {
			return n.Error()
		}
	}
	return ""
}
