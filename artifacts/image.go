package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"netlab.dev/netlab/components"
)

// picture is an image of a component with its reference decided.
type picture struct {
	of components.Component
	components.Image
	ref  string
	from string // repository that it is pulled from in place of Name
}

func (o obtaining) picture(k components.Component, i components.Image) picture {
	if i.Tag == components.SelfVersion {
		return picture{of: k, Image: i, ref: i.Name + ":" + o.selfHash[:12]}
	}
	return picture{of: k, Image: i, ref: k.Ref(i)}
}

// self reports an image that changes with every netlab executable.
func (p picture) self() bool { return p.Tag == components.SelfVersion }

// slug makes a reference fit for a file name.
func (p picture) slug() string { return strings.NewReplacer("/", "_", ":", "_").Replace(p.ref) }

func (o obtaining) imageItem(p picture) (item, error) {
	recipe := p.Image
	recipe.Without = "" // not part of the image
	parts := []any{recipe, p.ref}
	contents, err := o.keyOfContents(p.of, p.Contents)
	if err != nil {
		return item{}, err
	}
	for _, ref := range p.From {
		i, err := o.layerItem(ref)
		if err != nil {
			return item{}, err
		}
		parts = append(parts, i.key)
	}
	return item{inImages, p.slug(), keyOf(append(parts, contents)...)}, nil
}

// fromBuild is the origin of what was built on this machine.
const fromBuild = "build"

// source is a place that images come from. Sources are tried in order; the first that has
// the image provides it.
type source interface {
	// name is recorded with the image and shown by `netlab components`.
	name() string
	// fetch writes the image into an empty directory as an OCI layout, and may complete its
	// record. The error is errNotHere if this source does not have it, and the directory is
	// empty then.
	fetch(ctx context.Context, p picture, dir string, rec *record) error
}

// sources are the places that images come from. What is built asks for a build only where the
// cache lacks what it is made of, so it is among them whatever the Sources are.
func (o obtaining) sources() []source { return []source{puller{o}, builder{o}} }

var errNotHere = errors.New("not here")

// image returns the OCI layout of an image, from the first source that has it.
func (o obtaining) image(ctx context.Context, p picture) (string, error) {
	i, err := o.imageItem(p)
	if err != nil {
		return "", err
	}
	return o.keep(ctx, i, func(dir string, rec *record) error {
		if p.self() {
			rec.Self = o.selfHash
		}
		for _, s := range o.sources() {
			err := s.fetch(ctx, p, dir, rec)
			if errors.Is(err, errNotHere) {
				continue
			}
			rec.From = s.name()
			if err != nil {
				return fmt.Errorf("image %s from %s: %w", p.ref, s.name(), err)
			}
			return nil
		}
		return fmt.Errorf("image %s: not found in any source", p.ref)
	})
}

// builder is the last source: it makes the image from its recipe.
type builder struct{ obtaining }

func (builder) name() string { return fromBuild }

func (b builder) fetch(ctx context.Context, p picture, dir string, _ *record) error {
	if p.Pull != "" {
		return errNotHere
	}
	layers, err := b.layers(ctx, p, dir)
	if err != nil {
		return err
	}
	img, err := assemble(p.Image, layers)
	if err != nil {
		return err
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return l.AppendImage(img, layout.WithAnnotations(map[string]string{imageNameAnnotation: p.ref}))
}

// layers makes the layers of an image, the lowest first, and links them into the layout dir.
func (b builder) layers(ctx context.Context, p picture, dir string) (layers []v1.Layer, err error) {
	if p.Over != nil {
		under, err := b.image(ctx, b.upstream(p.of, *p.Over))
		if err != nil {
			return nil, err
		}
		if layers, err = layersOf(under, dir); err != nil {
			return nil, err
		}
	}
	var made []string
	for _, ref := range p.From {
		from, err := b.layer(ctx, ref)
		if err != nil {
			return nil, err
		}
		made = append(made, from)
	}
	if len(p.Dirs)+len(p.Files)+len(p.Links) > 0 {
		own, err := b.ownLayer(ctx, p)
		if err != nil {
			return nil, err
		}
		made = append(made, own)
	}
	for _, from := range made {
		l, err := b.tarLayer(from)
		if err != nil {
			return nil, err
		}
		// The layout shares the layer's bytes with the cache; writing finds them there.
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			return nil, err
		}
		if err := linkOrCopy(l.path, filepath.Join(blobs, l.digest.Hex)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// layersOf returns the layers of the only image of an OCI layout, which the layout dir shares.
func layersOf(from, dir string) ([]v1.Layer, error) {
	img, _, err := onlyImage(from)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	blobs := filepath.Join("blobs", "sha256")
	if err := os.MkdirAll(filepath.Join(dir, blobs), 0o755); err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		err = linkOrCopy(filepath.Join(from, blobs, digest.Hex), filepath.Join(dir, blobs, digest.Hex))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return layers, nil
}

// imageNameAnnotation is where containerd's import finds an image's full reference.
const imageNameAnnotation = "io.containerd.image.name"

// ownLayer is the topmost layer of an image.
func (o obtaining) ownLayer(ctx context.Context, p picture) (string, error) {
	key, err := o.keyOfContents(p.of, p.Contents)
	if err != nil {
		return "", err
	}
	return o.keep(ctx, item{inLayers, p.slug(), key}, func(dir string, rec *record) error {
		if p.self() {
			rec.Self = o.selfHash
		}
		return o.writeLayer(ctx, p.of, p.Contents, "", dir, rec)
	})
}

// assemble makes an image of layers; equal layers and recipe give an equal digest.
func assemble(i components.Image, layers []v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Created = architecture, "linux", v1.Time{Time: epoch.UTC()}
	file.History = nil
	env := i.Env
	if !hasPath(env) {
		env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	}
	file.Config = v1.Config{Entrypoint: i.Entrypoint, Cmd: i.Cmd, Env: env, User: i.User, WorkingDir: i.WorkingDir}
	return mutate.ConfigFile(img, file)
}

func hasPath(env []string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, "PATH=") {
			return true
		}
	}
	return false
}

// tarLayer is an uncompressed layer in the cache: it is never sent anywhere, only
// unpacked on this machine.
type tarLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

func (c Cache) tarLayer(dir string) (tarLayer, error) {
	rec, err := readRecord(dir)
	if err != nil {
		return tarLayer{}, err
	}
	digest, err := v1.NewHash(rec.Digest)
	if err != nil {
		return tarLayer{}, err
	}
	path := filepath.Join(dir, layerTar)
	info, err := os.Stat(path)
	if err != nil {
		return tarLayer{}, err
	}
	return tarLayer{path, digest, info.Size()}, nil
}

func (l tarLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l tarLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l tarLayer) Size() (int64, error)                 { return l.size, nil }
func (l tarLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l tarLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l tarLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
