package artifacts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/components"
)

// upstream is the image that a node image is laid over, with the digest that settle chose.
func (o obtaining) upstream(k components.Component, u components.Upstream) picture {
	p := o.picture(k, components.Image{Name: u.Name, Pull: u.Pull})
	p.from = o.NodeImage
	return p
}

// repository is where a picture is pulled from.
func (p picture) repository() string {
	if p.from != "" {
		return p.from
	}
	return p.Name
}

// answer is the digest of an upstream's image, or why it is not available.
type answer struct{ digest, why string }

// settle decides which node image the set's Nodes use: upstream's if it is available, and then
// the components that it contains are not built; otherwise the one that is built here. Running
// Nodes keep their image. asked remembers the answers, by reference and
// locked digest.
func (o obtaining) settle(ctx context.Context, asked map[string]answer) (job, error) {
	j := job{obtaining: o, parts: slices.Clone(o.set.Components), refused: map[string]string{}}
	var held []string
	for n, k := range j.parts {
		at := slices.IndexFunc(k.Images, func(i components.Image) bool { return i.Over != nil })
		if at < 0 {
			continue
		}
		over := k.Images[at]
		upstream := *over.Over
		others := slices.Delete(slices.Clone(k.Images), at, at+1)
		j.parts[n].Images = others
		if !slices.Contains(upstream.Providers, o.set.Plan.Provider) {
			continue
		}
		if own, err := o.ownFirst(k, others, upstream); err != nil {
			return job{}, err
		} else if own {
			continue
		}
		ref := o.upstream(k, upstream).ref
		if o.set.Lock.Excludes(whatImage + ref) {
			j.refused[ref] = ref + " is not in the lab's lock"
			continue
		}
		question := o.question(ref)
		if _, known := asked[question]; !known {
			digest, why, err := o.digestOf(ctx, k, upstream)
			if err != nil {
				return job{}, err
			}
			asked[question] = answer{digest, why}
		}
		if why := asked[question].why; why != "" {
			j.refused[ref] = why
			continue
		}
		upstream.Pull = asked[question].digest
		over.Over = &upstream
		j.parts[n].Images = append(slices.DeleteFunc(others, func(i components.Image) bool { return i.Node }), over)
		held = append(held, upstream.Holds...)
		j.over = true
		var err error
		if j.base, err = o.standIn(upstream.Debian, o.upstream(k, upstream)); err != nil {
			return job{}, err
		}
	}
	j.parts = slices.DeleteFunc(j.parts, func(k components.Component) bool { return slices.Contains(held, k.Name) })
	return j, nil
}

// question names an upstream's image with its locked digest, for which an answer is remembered.
func (o obtaining) question(ref string) string {
	locked, _ := o.set.Lock.Find(whatDigest + ref)
	return ref + "@" + locked.Digest
}

// ownFirst reports whether a new lab's Nodes use the image that was built here without a question to
// a registry: it is cached, upstream's is not, and nobody has named a place where that is.
func (o obtaining) ownFirst(k components.Component, images []components.Image, u components.Upstream) (bool, error) {
	if _, locked := o.set.Lock.Find(whatImage + o.upstream(k, u).ref); locked || len(o.Before.Images) > 0 || o.NodeImage != "" || len(o.pulledFrom(k, u)) > 0 {
		return false, nil
	}
	for _, i := range images {
		if !i.Node {
			continue
		}
		at, err := o.imageItem(o.picture(k, i))
		if err != nil {
			return false, err
		}
		if _, cached := o.have(at); cached {
			return true, nil
		}
	}
	return false, nil
}

// digestOf pulls an upstream's image unless it is cached, and returns its digest, or why it is
// not available.
func (o obtaining) digestOf(ctx context.Context, k components.Component, u components.Upstream) (digest, why string, err error) {
	ref := o.upstream(k, u).ref
	_, locked := o.set.Lock.Find(whatImage + ref)
	made := len(o.Before.Images) > 0
	if made {
		_, u.Pull, _ = strings.Cut(o.Before.Node.Over, "@")
		if u.Pull == "" {
			return "", o.Before.Lacks(ref), nil
		}
	}
	if u.Pull != "" {
		_, err = o.image(ctx, o.upstream(k, u))
	} else {
		u.Pull, err = o.pinned(ctx, k, u)
	}
	var refusal registry.Unavailable
	switch {
	case err == nil:
		return u.Pull, "", nil
	case !errors.As(err, &refusal):
		return "", "", err
	case made:
		return "", "", fmt.Errorf("the lab's Nodes use it, so new Nodes require it: %w", refusal)
	case locked:
		return "", "", fmt.Errorf("the lab's lock requires it: %w", refusal)
	}
	return "", refusal.Error(), nil
}

// pulledFrom returns where a cached upstream's image came from.
func (o obtaining) pulledFrom(k components.Component, u components.Upstream) []string {
	if u.Pull == "" {
		rec, _ := o.have(o.pin(k, u))
		u.Pull = rec.Digest
	}
	i, err := o.imageItem(o.upstream(k, u))
	if rec, there := o.have(i); err == nil && there && u.Pull != "" {
		return []string{rec.From}
	}
	return nil
}

// pin is the cache entry of the digest that a tag had, or has by the set's lock.
func (o obtaining) pin(k components.Component, u components.Upstream) item {
	p := o.upstream(k, u)
	parts := []any{p.repository()}
	if locked, is := o.set.Lock.Find(whatDigest + p.ref); is {
		parts = append(parts, locked.Digest)
	}
	return item{inPins, p.slug(), keyOf(parts...)}
}

// pinned returns the digest that a tag had when the image was first pulled, or the locked one.
func (o obtaining) pinned(ctx context.Context, k components.Component, u components.Upstream) (string, error) {
	p := o.upstream(k, u)
	ref, err := name.NewTag(p.repository() + ":" + k.Version)
	if err != nil {
		return "", err
	}
	dir, err := o.keep(ctx, o.pin(k, u), func(_ string, rec *record) error {
		if locked, is := o.set.Lock.Find(whatDigest + p.ref); is {
			u.Pull = locked.Digest
		} else {
			if !slices.Contains(o.Sources, Registry) {
				return registry.Unavailable{Ref: p.ref, Host: ref.RegistryStr(), Err: errNotAsked}
			}
			found, err := o.pulls.Find(ctx, ref, v1.Platform{OS: "linux", Architecture: architecture})
			if err != nil {
				return calledHere(err, p.ref)
			}
			u.Pull = found.Digest.String()
		}
		if _, err := o.image(ctx, o.upstream(k, u)); err != nil {
			return err
		}
		rec.From, rec.Digest = fromRegistry, u.Pull
		return nil
	})
	if err != nil {
		return "", err
	}
	rec, err := readRecord(dir)
	return rec.Digest, err
}

// unpackHeld runs next to a containerd whose root is from an upstream's image: its images for
// kubeadm are unpacked once, and not in every Node.
const unpackHeld = `for digest in $("$ctr" -n k8s.io images ls | awk '/^registry.k8s.io\//{print $3}' | sort -u); do
  "$ctr" -n k8s.io snapshots --snapshotter overlayfs unpack "$digest" || echo "a Node unpacks $digest"
done
`

// insideImage runs a script ($3) in the file system of an image ($1 its layers, the topmost
// first), with a directory of this machine ($2) as its containerd root ($4). Where $5 is
// copy, that directory first gets what the image has there.
const insideImage = `set -e
lower=$1 root=$2 script=$3 place=$4
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work /run/image
mount -t overlay -o "lowerdir=$lower,upperdir=/run/upper,workdir=/run/work" overlay /run/image
cd /run/image
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs tmp
mkdir -p ".$place"
[ "$5" != copy ] || cp -a ".$place/." "$root/"
mount --bind "$root" ".$place"
# The machine's PATH says nothing of the image.
exec env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -c "$script" sh containerd ctr "$place"
`

// importer puts images into a containerd root: with the containerd that is built here, or
// with that of the image that the Nodes are of.
type importer struct {
	over   string   // key of the upstream's image; "": the containerd that is built
	lowers []string // of the upstream's image, the topmost first
	place  string   // of the containerd root in it
}

// inside is the command that imports what it reads. How: import, or copy for the root that
// the image itself holds.
func (i importer) inside(root string, script string, how string) []string {
	// The newest configuration that every containerd since 2.0 reads.
	script = strings.Replace(script, "version = 4", "version = 3", 1)
	return apart("sh", "-c", insideImage, "sh", strings.Join(i.lowers, ":"), root, script, i.place, how)
}

// heldStore returns a containerd root with the images of an upstream's image, unpacked.
func (o obtaining) heldStore(ctx context.Context, of importer, p picture) (string, error) {
	script := startContainerd + unpackHeld + endContainerd
	i := item{inStores, "held", keyOf(of.over, of.place, script, insideImage)}
	return o.keep(ctx, i, func(dir string, rec *record) (err error) {
		done := o.step("unpack what " + p.ref + " holds")
		defer func() { done(err) }()
		if err := refuseOverlay(dir); err != nil {
			return err
		}
		root := filepath.Join(dir, "root")
		rec.From = fromRegistry
		t := tool{argv: append([]string{"sh", "-ec", `mkdir -m 711 "$1"; shift; exec "$@" </dev/null`, "sh", root}, of.inside(root, script, "copy")...), log: o.log(i)}
		return t.run(ctx)
	})
}

// overUpstream completes artifacts whose Nodes are of an upstream's image, with a layer of
// ours over it; dir is the layout of both. It returns what imports images for such Nodes, and
// the store with those that the image holds.
func (o obtaining) overUpstream(ctx context.Context, p picture, dir string, artifacts *components.Artifacts) (importer, string, error) {
	under := o.upstream(p.of, *p.Over)
	layout, err := o.image(ctx, under)
	if err != nil {
		return importer{}, "", err
	}
	i, err := o.imageItem(under)
	if err != nil {
		return importer{}, "", err
	}
	with := importer{over: i.key, place: p.Over.Store}
	if with.lowers, err = o.lowers(ctx, layout); err != nil {
		return importer{}, "", err
	}
	if artifacts.Node, err = nodeImage(p.Name, dir); err != nil {
		return importer{}, "", err
	}
	if artifacts.Rootfs, err = o.lowers(ctx, dir); err != nil {
		return importer{}, "", err
	}
	if artifacts.DebianBase, err = o.unpacked(ctx, p.Over.Debian); err != nil {
		return importer{}, "", err
	}
	artifacts.Node.Over = under.ref + "@" + under.Pull
	for name, path := range p.Over.Programs {
		if artifacts.Programs[name], err = within(with.lowers, path); err != nil {
			return importer{}, "", fmt.Errorf("%s: %w", under.ref, err)
		}
	}
	store, err := o.heldStore(ctx, with, under)
	return with, store, err
}

// within finds a file in overlay lower directories, from the topmost down.
func within(lowers []string, path string) (string, error) {
	for _, lower := range lowers {
		place := filepath.Join(lower, path)
		if info, err := os.Lstat(place); err == nil && info.Mode().IsRegular() {
			return place, nil
		}
	}
	return "", fmt.Errorf("file %s not found in the image", path)
}
