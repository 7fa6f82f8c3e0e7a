package artifacts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"netlab.dev/netlab/artifacts/bundle"
	"netlab.dev/netlab/components"
)

// fromBundle is the origin of what a bundle brought.
const fromBundle = "bundle"

// WriteBundle obtains what sets require and writes it as a bundle. About has the version of
// netlab and the names of the labs. Whoever reads the bundle with the same netlab needs no source.
func (c Cache) WriteBundle(ctx context.Context, sets []components.Set, about bundle.Index, w io.Writer, step components.Step) (index bundle.Index, err error) {
	if _, err := c.ObtainAll(ctx, sets, step); err != nil {
		return index, err
	}
	jobs, err := c.jobs(ctx, sets, step)
	if err != nil {
		return index, err
	}
	var contents []bundle.Content
	written := map[item]bool{}
	for _, j := range jobs {
		all, err := j.ingredients()
		if err != nil {
			return index, err
		}
		for _, i := range all {
			if written[i.item] {
				continue
			}
			written[i.item] = true
			content, err := c.content(i)
			if err != nil {
				return index, err
			}
			contents = append(contents, content)
		}
	}
	done := step("write the bundle")
	defer func() { done(err) }()
	about.Platform = Platform
	return bundle.Write(contextWriter{ctx, w}, about, contents)
}

// contextWriter fails once its context is done.
type contextWriter struct {
	ctx context.Context
	io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.Writer.Write(p)
}

// content is an entry of the cache as a bundle holds it.
func (c Cache) content(i ingredient) (bundle.Content, error) {
	dir := c.path(i.item)
	rec, cached := c.have(i.item)
	if !cached {
		return bundle.Content{}, fmt.Errorf("%s is not in the cache", i.what)
	}
	e := bundle.Entry{ID: i.kind + "/" + i.String(), What: i.what, From: rec.origin()}
	switch forms[i.kind] {
	case bundle.FormImage:
		return imageContent(e, dir)
	case bundle.FormFile:
		digest, err := v1.NewHash(rec.Digest)
		if err != nil {
			return bundle.Content{}, err
		}
		file := filepath.Join(dir, layerTar)
		info, err := os.Stat(file)
		if err != nil {
			return bundle.Content{}, err
		}
		return bundle.NewFile(e, digest, info.Size(), func() (io.ReadCloser, error) { return os.Open(file) })
	case bundle.FormNote:
		return bundle.NewNote(e, rec.Digest)
	}
	return bundle.NewTree(e, dir, recordFile), nil
}

// imageContent is an image of an OCI layout.
func imageContent(e bundle.Entry, dir string) (bundle.Content, error) {
	blob := func(hex string) string { return filepath.Join(dir, "blobs", "sha256", hex) }
	l, err := layout.FromPath(dir)
	if err != nil {
		return bundle.Content{}, err
	}
	ii, err := l.ImageIndex()
	if err != nil {
		return bundle.Content{}, err
	}
	m, err := ii.IndexManifest()
	if err != nil {
		return bundle.Content{}, err
	}
	is := m.Manifests[0]
	manifest, err := os.ReadFile(blob(is.Digest.Hex))
	if err != nil {
		return bundle.Content{}, err
	}
	return bundle.NewImage(e, is, manifest, func(hex string) (io.ReadCloser, error) { return os.Open(blob(hex)) })
}

// ReadBundle puts what a bundle holds into the cache, or nothing of a bundle that is damaged. It
// returns what the bundle says of itself, and how many of its entries the cache lacked.
func (c Cache) ReadBundle(ctx context.Context, in io.Reader, step components.Step) (index bundle.Index, added int, err error) {
	if err := c.sweep(); err != nil {
		return index, 0, err
	}
	r, err := bundle.Open(contextReader{ctx, in})
	if err != nil {
		return index, 0, err
	}
	defer r.Close()
	if r.Index.Platform != Platform {
		return r.Index, 0, fmt.Errorf("the bundle is for %s, and this machine is %s", r.Index.Platform, Platform)
	}
	lacks := map[string]item{}
	for _, e := range r.Index.Entries {
		i, err := itemOf(e)
		if err != nil {
			return r.Index, 0, err
		}
		if _, cached := c.have(i); !cached {
			lacks[e.ID] = i
		}
	}
	done := step(fmt.Sprintf("import the bundle (entries: %d)", len(r.Index.Entries)))
	defer func() { done(err) }()
	staged := item{inBundles, "import", keyOf(r.Index)}
	unlock, err := c.lock(ctx, staged)
	if err != nil {
		return r.Index, 0, err
	}
	defer unlock()
	stage := c.tmp(staged)
	if err := errors.Join(os.RemoveAll(stage), os.MkdirAll(stage, 0o755)); err != nil {
		return r.Index, 0, err
	}
	defer os.RemoveAll(stage)
	wanted := func(e bundle.Entry) bool { _, lacked := lacks[e.ID]; return lacked }
	if err := r.Read(wanted, func(name string, in io.Reader) error { return writeNew(filepath.Join(stage, name), in) }); err != nil {
		return r.Index, 0, err
	}
	for _, e := range r.Index.Entries {
		if !wanted(e) {
			continue
		}
		if err := c.place(ctx, r, e, lacks[e.ID], stage); err != nil {
			return r.Index, added, fmt.Errorf("%s of the bundle: %w", e.What, err)
		}
		added++
	}
	return r.Index, added, nil
}

// CheckBundle reads a whole bundle and compares it with its digests.
func CheckBundle(ctx context.Context, in io.Reader) (bundle.Index, error) {
	r, err := bundle.Open(contextReader{ctx, in})
	if err != nil {
		return bundle.Index{}, err
	}
	defer r.Close()
	return r.Index, r.Read(func(bundle.Entry) bool { return false }, nil)
}

// contextReader fails once its context is done.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// forms are how a bundle holds the entries of the cache, by their kind: those that ingredients have.
var forms = map[string]string{inBuilds: bundle.FormTree, inModules: bundle.FormTree, inLayers: bundle.FormFile, inImages: bundle.FormImage,
	inPins: bundle.FormNote, inClouds: bundle.FormTree}

// itemOf is an entry's place in the cache.
func itemOf(e bundle.Entry) (item, error) {
	kind, rest, _ := strings.Cut(e.ID, "/")
	cut := strings.LastIndex(rest, "-")
	if e.Form == "" || forms[kind] != e.Form || cut < 1 || strings.ContainsAny(rest, "/\x00") {
		return item{}, fmt.Errorf("the bundle is damaged: entry %q of form %q", e.ID, e.Form)
	}
	return item{kind, rest[:cut], rest[cut+1:]}, nil
}

// place makes an entry of the cache from the blobs of a bundle.
func (c Cache) place(ctx context.Context, r *bundle.Reader, e bundle.Entry, i item, stage string) error {
	_, err := c.keep(ctx, i, func(dir string, rec *record) error {
		rec.From, rec.Origin = fromBundle, e.From
		blobs := r.Blobs(e)
		staged := func(d v1.Descriptor) string { return filepath.Join(stage, d.Digest.Hex) }
		switch e.Form {
		case bundle.FormImage:
			return placeImage(dir, r.Descriptor(e), blobs, staged)
		case bundle.FormFile:
			rec.Digest = blobs[0].Digest.String()
			return linkOrCopy(staged(blobs[0]), filepath.Join(dir, layerTar))
		case bundle.FormNote:
			rec.Digest = e.Value
			return nil
		}
		return placeTree(dir, blobs, staged)
	})
	return err
}

// placeTree makes a directory of its archive, the first of its blobs, and of the layers that this
// refers to.
func placeTree(dir string, blobs []v1.Descriptor, staged func(v1.Descriptor) string) error {
	in, err := os.Open(staged(blobs[0]))
	if err != nil {
		return err
	}
	defer in.Close()
	return bundle.ReadTree(in, dir, func(hex string) (io.ReadCloser, error) {
		n := slices.IndexFunc(blobs[1:], func(d v1.Descriptor) bool { return d.Digest.Hex == hex })
		if n < 0 {
			return nil, fmt.Errorf("layer %s is not listed", hex)
		}
		return os.Open(staged(blobs[1+n]))
	})
}

// placeImage makes the OCI layout of an image.
func placeImage(dir string, is v1.Descriptor, blobs []v1.Descriptor, staged func(v1.Descriptor) string) error {
	to := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	linked := map[string]bool{}
	for _, d := range append(slices.Clone(blobs), is) {
		if linked[d.Digest.Hex] {
			continue
		}
		linked[d.Digest.Hex] = true
		if err := linkOrCopy(staged(d), filepath.Join(to, d.Digest.Hex)); err != nil {
			return err
		}
	}
	is.Annotations = map[string]string{imageNameAnnotation: is.Annotations[imageNameAnnotation]}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{is}})
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

func writeNew(path string, in io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}
