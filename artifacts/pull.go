package artifacts

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/components"
)

// fromRegistry is the origin of what was pulled.
const fromRegistry = "registry"

// puller is the source of images that registries have: the only one of images that cannot be
// built here, and the first one of others where registries come before builds.
type puller struct{ obtaining }

func (puller) name() string { return fromRegistry }

// pulls is what one command asks registries for.
type pulls struct {
	*registry.Client
	mu      sync.Mutex
	refused map[string]bool // by reference, images that are built since no registry has them
	noted   map[string]bool // texts
}

func newPulls(c Cache) *pulls {
	return &pulls{Client: registry.New(c.Registries, registry.DefaultLimits()), refused: map[string]bool{}, noted: map[string]bool{}}
}

func (p *pulls) wasRefused(ref string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[ref]
}

// first reports whether a text is new.
func (p *pulls) first(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.noted[text]
	p.noted[text] = true
	return !was
}

// fetch pulls an image, by digest where one is pinned: that covers all that the image holds, and
// its tag is only the name that it gets here. Its error is a registry.Unavailable if the registry
// is at fault and the image is not built instead.
func (p puller) fetch(ctx context.Context, image picture, dir string, rec *record) error {
	if image.Pull != "" {
		ref, err := name.NewDigest(image.repository() + "@" + image.Pull)
		if err != nil {
			return err
		}
		return p.write(ctx, image, ref, dir, rec)
	}
	if !p.pulledFirst(image) || p.pulls.wasRefused(image.ref) {
		return errNotHere
	}
	if locked, is := p.set.Lock.Find(whatImage + image.ref); is { // nothing else will do
		ref, err := name.NewDigest(image.Name + "@" + locked.Digest)
		if err != nil {
			return err
		}
		return p.write(ctx, image, ref, dir, rec)
	}
	ref, err := name.NewTag(image.ref)
	if err != nil {
		return err
	}
	return p.orBuilt(image, p.write(ctx, image, ref, dir, rec))
}

// orBuilt replaces the refusal of a registry by errNotHere, with a note, where the image is built
// instead.
func (o obtaining) orBuilt(image picture, err error) error {
	var refusal registry.Unavailable
	if !errors.As(err, &refusal) || !slices.Contains(o.Sources, Build) {
		return err
	}
	o.pulls.mu.Lock()
	o.pulls.refused[image.ref] = true
	o.pulls.mu.Unlock()
	if refusal.Down {
		o.warn(refusal.Error() + "; its images are built here")
	} else {
		o.warn(refusal.Error() + "; it is built here")
	}
	return errNotHere
}

// pulledFirst reports whether an image that can be built is asked for at its registry before:
// under upstream's own name, or comes from there alone, by the set's lock. Those of Kubernetes are
// only asked for if the Nodes are of upstream's image, as far as that does not hold them.
func (o obtaining) pulledFirst(p picture) bool {
	either := (p.of.Chosen() || o.over) && p.Pull == "" && !p.self() && !p.Node && p.Over == nil
	if locked, is := o.set.Lock.Find(whatImage + p.ref); is {
		return either && locked.From == fromRegistry
	}
	return either && o.registryFirst()
}

// stage is where the blobs of images are until they are complete.
func (c Cache) stage() string { return filepath.Join(c.Dir, inPulls) }

// write pulls an image into a directory.
func (o obtaining) write(ctx context.Context, image picture, ref name.Reference, dir string, rec *record) (err error) {
	if !slices.Contains(o.Sources, Registry) {
		return registry.Unavailable{Ref: image.ref, Host: ref.Context().RegistryStr(), Err: errNotAsked}
	}
	found, err := o.pulls.Find(ctx, ref, v1.Platform{OS: "linux", Architecture: architecture})
	if err != nil {
		return calledHere(err, image.ref)
	}
	for _, why := range found.Skipped {
		o.warn("a registry's mirror is not used: " + why.Error())
	}
	done, now := o.changing(fmt.Sprintf("pull %s (%s)", image.ref, inMB(found.Bytes())))
	defer func() { done(err) }()
	meter := &registry.Meter{}
	stop := report(meter, found.Bytes(), func(text string) { now("pull " + image.ref + ": " + text) })
	defer stop()
	if err := o.pulls.Write(ctx, found, dir, o.stage(), map[string]string{imageNameAnnotation: image.ref}, meter); err != nil {
		return calledHere(err, image.ref)
	}
	rec.Digest = found.Digest.String()
	return nil
}

// calledHere has a registry's refusal call an image by the name that it has here.
func calledHere(err error, ref string) error {
	var refusal registry.Unavailable
	if errors.As(err, &refusal) {
		refusal.Ref = ref
		return refusal
	}
	return err
}

// report reports how much of an image is here and how fast it comes, until stop is called.
func report(meter *registry.Meter, all int64, now func(string)) (stop func()) {
	const every = 500 * time.Millisecond
	ended := make(chan struct{})
	var once sync.WaitGroup
	once.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for was := int64(0); ; {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			came := meter.Came.Load()
			now(fmt.Sprintf("%s of %s, %s/s", inMB(meter.Here.Load()), inMB(all), inMB(int64(float64(came-was)/every.Seconds()))))
			was = came
		}
	})
	return func() { close(ended); once.Wait() }
}

func inMB(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// pullAll pulls the images of some sets that registries are asked for before they are built.
func pullAll(ctx context.Context, jobs []job) error {
	var all errgroup.Group // every error is reported
	var mu sync.Mutex
	var problems []error
	seen := map[item]bool{}
	for _, j := range jobs {
		for _, k := range j.parts {
			for _, i := range k.Images {
				p := j.picture(k, i)
				at, err := j.imageItem(p)
				if err != nil {
					return err
				}
				if seen[at] || i.Optional != "" || !j.pulledFirst(p) {
					continue
				}
				seen[at] = true
				all.Go(func() error {
					_, err := j.keep(ctx, at, func(dir string, rec *record) error {
						rec.From = fromRegistry
						return puller{j.obtaining}.fetch(ctx, p, dir, rec)
					})
					if err != nil && !errors.Is(err, errNotHere) {
						mu.Lock()
						problems = append(problems, err)
						mu.Unlock()
					}
					return nil
				})
			}
		}
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(problems...)
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
			case o.set.Lock.Excludes(whatImage + p.ref):
				why = p.ref + " is not in the lab's lock"
			case !made:
				why = o.kernelLacks(k, i.Optional)
			}
			if why == "" {
				var refused registry.Unavailable
				_, err := o.image(ctx, p)
				switch {
				case err == nil:
				case !errors.As(err, &refused):
					return nil, err
				case has:
					return nil, fmt.Errorf("the lab's Nodes have %s, so new Nodes require it: %w", p.ref, refused)
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
