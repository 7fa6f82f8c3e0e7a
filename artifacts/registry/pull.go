package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is an image that a registry has for one platform.
type Image struct {
	ref      name.Reference
	places   []place // that it is pulled from, in order; the first had it
	manifest []byte
	is       v1.Descriptor
	blobs    []v1.Descriptor

	// Digest is what the reference led to: that of the image, or of an index that names it.
	Digest v1.Hash
	// Skipped are why mirrors were not used.
	Skipped []error
}

// Meter counts the bytes of an image while it is pulled.
type Meter struct {
	Here atomic.Int64 // of its blobs, whenever they came
	Came atomic.Int64 // received now
}

// Bytes that its blobs have.
func (i Image) Bytes() (sum int64) {
	seen := map[v1.Hash]bool{}
	for _, b := range i.blobs {
		if !seen[b.Digest] {
			sum += b.Size
		}
		seen[b.Digest] = true
	}
	return sum
}

// Find asks for an image, at the mirrors of its registry and then there. The error is an
// Unavailable if none has it.
func (c *Client) Find(ctx context.Context, ref name.Reference, platform v1.Platform) (Image, error) {
	all, err := c.config.places(ref.Context())
	if err != nil {
		return Image{}, err
	}
	image := Image{ref: ref}
	down := true
	for n, at := range all {
		found, err := c.find(ctx, &image, at, platform)
		if ctx.Err() != nil {
			return image, context.Cause(ctx)
		}
		if err == nil {
			image.places = append(image.places, found)
			for _, other := range all[n+1:] { // nobody has logged in there yet
				image.places = append(image.places, place{Repository: other})
			}
			return image, nil
		}
		var d downError
		down = down && errors.As(err, &d)
		if len(all) > 1 {
			err = fmt.Errorf("%s: %w", shown(at.Registry), err)
		}
		image.Skipped = append(image.Skipped, err)
	}
	return image, Unavailable{Ref: ref.Name(), Host: shown(ref.Context().Registry), Down: down, Err: joined(image.Skipped)}
}

// find asks one place for an image.
func (c *Client) find(ctx context.Context, image *Image, at name.Repository, platform v1.Platform) (place, error) {
	p, err := c.place(ctx, at)
	if err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Manifest, fmt.Errorf("timed out after %s waiting for the image's manifest", c.limits.Manifest))
	defer cancel()
	got, err := remote.Get(sameAt(image.ref, at), remote.WithContext(ctx), remote.WithTransport(p.RoundTripper), remote.WithPlatform(platform))
	if err != nil {
		return p, caused(ctx, err)
	}
	img, err := got.Image()
	if err != nil {
		return p, caused(ctx, err)
	}
	if image.manifest, err = img.RawManifest(); err != nil {
		return p, caused(ctx, err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(image.manifest))
	if err != nil {
		return p, fmt.Errorf("the image's manifest: %w", err)
	}
	if !got.MediaType.IsIndex() {
		if err := isFor(img, platform); err != nil {
			return p, caused(ctx, err)
		}
	}
	digest, size, err := v1.SHA256(bytes.NewReader(image.manifest))
	if err != nil {
		return p, err
	}
	image.Digest, image.is = got.Digest, v1.Descriptor{MediaType: manifest.MediaType, Digest: digest, Size: size}
	image.blobs = append([]v1.Descriptor{manifest.Config}, manifest.Layers...)
	return p, nil
}

// isFor refuses an image that no index offers for a platform if it says that it is for another.
func isFor(img v1.Image, platform v1.Platform) error {
	file, err := img.ConfigFile()
	if err == nil && file.Architecture != "" && (file.Architecture != platform.Architecture || file.OS != platform.OS) {
		err = fmt.Errorf("the image is for %s/%s, not for %s", file.OS, file.Architecture, platform)
	}
	return err
}

// sameAt is a reference at another place.
func sameAt(ref name.Reference, at name.Repository) name.Reference {
	if digest, ok := ref.(name.Digest); ok {
		return at.Digest(digest.DigestStr())
	}
	return at.Tag(ref.Identifier())
}

// Write pulls an image into an empty directory as an OCI layout, with annotations of its
// manifest's descriptor. Blobs are kept in stage while they are incomplete, and taken from there:
// the next call goes on with them, also in another process. The directory is empty if there is an
// error.
func (c *Client) Write(ctx context.Context, image Image, dir, stage string, annotations map[string]string, meter *Meter) (err error) {
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return err
	}
	group, limited := errgroup.WithContext(ctx)
	seen := map[v1.Hash]bool{}
	for _, d := range image.blobs {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		group.Go(func() error { return c.blob(limited, image, d, stage, meter) })
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, emptied(dir))
		}
	}()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for _, d := range image.blobs {
		if err := c.take(ctx, image, d, stage, filepath.Join(dir, "blobs", "sha256", d.Digest.Hex)); err != nil {
			return err
		}
	}
	if err := l.WriteBlob(image.is.Digest, io.NopCloser(bytes.NewReader(image.manifest))); err != nil {
		return err
	}
	image.is.Annotations = annotations
	return l.AppendDescriptor(image.is)
}

func emptied(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// joined is several errors on one line.
func joined(all []error) error {
	if len(all) == 1 {
		return all[0]
	}
	return several(all)
}

type several []error

func (s several) Error() string {
	text := ""
	for n, err := range s {
		if n > 0 {
			text += "; "
		}
		text += oneLine(err)
	}
	return text
}
func (s several) Unwrap() []error { return s }
