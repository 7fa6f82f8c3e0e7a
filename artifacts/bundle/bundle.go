// Package bundle is the format of a bundle: one file with the software of labs, for machines
// without a registry, a compiler or the internet. It is an OCI image layout in a tar archive,
// compressed by zstd: images are stored as images, whatever else a lab requires as OCI artifacts.
// Content is there once: blobs are shared by their digests, and a directory's archive refers to the
// layers for the files that they hold too. Equal contents give equal bytes. Reading is one pass in
// bounded memory, and checks every byte against the digests of the index. What the entries mean is
// their owner's to know.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// SchemaVersion is of the index. A reader refuses other versions. In version 1 a directory's archive
// had all of its files.
const SchemaVersion = 2

// Index is what a bundle says of itself.
type Index struct {
	SchemaVersion int      `json:"schemaVersion"`
	Netlab        string   `json:"netlab"`   // version that wrote it
	Platform      string   `json:"platform"` // such as linux/amd64
	Labs          []string `json:"labs"`
	Bytes         int64    `json:"bytes"`   // of all content, uncompressed, each blob once
	Entries       []Entry  `json:"entries"` // by ID
}

// Entry is one thing in a bundle.
type Entry struct {
	ID     string `json:"id"`   // its place in the cache
	What   string `json:"what"` // for people
	Form   string `json:"form"` // FormImage, FormFile, FormTree or FormNote
	From   string `json:"from"` // where whoever wrote the bundle had it from
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`           // uncompressed; what entries share counts for each
	Value  string `json:"value,omitempty"` // all that a note holds
}

// The forms of an Entry.
const (
	FormImage = "image" // an OCI image
	FormFile  = "file"  // one file
	FormTree  = "tree"  // a directory, as WriteTree archives it
	FormNote  = "note"  // a value
)

// artifactType is of the manifest of every entry that is not an image.
const artifactType = "application/vnd.netlab.entry.v1"

// Annotations of the index and of its manifests.
const (
	annotationSchema   = "dev.netlab.schemaVersion"
	annotationNetlab   = "dev.netlab.version"
	annotationPlatform = "dev.netlab.platform"
	annotationLabs     = "dev.netlab.labs"
	annotationID       = "dev.netlab.entry"
	annotationWhat     = "org.opencontainers.image.title"
	annotationForm     = "dev.netlab.form"
	annotationFrom     = "dev.netlab.from"
	annotationBytes    = "dev.netlab.bytes" // of the index too
	annotationValue    = "dev.netlab.value"
)

// Names in the archive.
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobsDir   = "blobs/sha256/"
)

const layoutText = `{"imageLayoutVersion":"1.0.0"}`

// Blob is content that is named by its digest.
type Blob struct {
	v1.Descriptor
	Open func() (io.ReadCloser, error)
}

// Content is an Entry to be written.
type Content struct {
	Entry
	annotations map[string]string
	manifest    Blob
	blobs       []Blob
	tree        *tree // of a FormTree, whose manifest and blobs Write makes
}

// NewImage is an image: its manifest, as stored and described by the index of an OCI layout, and
// its other blobs, which open opens by their digest in hex.
func NewImage(e Entry, is v1.Descriptor, manifest []byte, open func(hex string) (io.ReadCloser, error)) (Content, error) {
	e.Form = FormImage
	c := Content{Entry: e, annotations: is.Annotations, manifest: blobOf(is.MediaType, manifest)}
	parsed, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return c, fmt.Errorf("manifest of %s: %w", e.What, err)
	}
	for _, d := range append([]v1.Descriptor{parsed.Config}, parsed.Layers...) {
		c.blobs = append(c.blobs, Blob{d, func() (io.ReadCloser, error) { return open(d.Digest.Hex) }})
		c.Bytes += d.Size
	}
	return c, nil
}

// NewFile is a file, whose digest and size are known.
func NewFile(e Entry, digest v1.Hash, size int64, open func() (io.ReadCloser, error)) (Content, error) {
	e.Form, e.Bytes = FormFile, size
	return artifact(e, Blob{v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: digest, Size: size}, open})
}

// NewTree is a directory without the file that skip names. It is read when it is written.
func NewTree(e Entry, dir, skip string) Content {
	e.Form = FormTree
	return Content{Entry: e, tree: &tree{dir: dir, skip: skip}}
}

// NewNote is a value.
func NewNote(e Entry, value string) (Content, error) {
	e.Form, e.Value = FormNote, value
	return artifact(e)
}

// artifact describes blobs by an OCI artifact manifest.
func artifact(e Entry, blobs ...Blob) (Content, error) {
	empty := blobOf("application/vnd.oci.empty.v1+json", []byte("{}"))
	manifest := struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		ArtifactType  string          `json:"artifactType"`
		Config        v1.Descriptor   `json:"config"`
		Layers        []v1.Descriptor `json:"layers"`
	}{2, types.OCIManifestSchema1, artifactType, empty.Descriptor, nil}
	if len(blobs) == 0 {
		blobs = []Blob{empty} // the specification requires one
	}
	for _, b := range blobs {
		manifest.Layers = append(manifest.Layers, b.Descriptor)
	}
	text, err := json.Marshal(manifest)
	return Content{Entry: e, manifest: blobOf(types.OCIManifestSchema1, text), blobs: append([]Blob{empty}, blobs...)}, err
}

// blobOf is a blob in memory.
func blobOf(mediaType types.MediaType, data []byte) Blob {
	sum := sha256.Sum256(data)
	return Blob{
		v1.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// described is an entry as the OCI index describes it.
func (c Content) described() v1.Descriptor {
	d := c.manifest.Descriptor
	d.Annotations = map[string]string{
		annotationID: c.ID, annotationWhat: c.What, annotationForm: c.Form, annotationFrom: c.From,
		annotationBytes: strconv.FormatInt(c.Bytes, 10),
	}
	if c.Value != "" {
		d.Annotations[annotationValue] = c.Value
	}
	for name, value := range c.annotations {
		d.Annotations[name] = value
	}
	if c.Form != FormImage {
		d.ArtifactType = artifactType
	}
	return d
}

// toOCI is the OCI index of a bundle.
func toOCI(about Index, contents []Content) v1.IndexManifest {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: map[string]string{
		annotationSchema: strconv.Itoa(SchemaVersion), annotationNetlab: about.Netlab, annotationPlatform: about.Platform,
		annotationLabs: strings.Join(about.Labs, " "), annotationBytes: strconv.FormatInt(about.Bytes, 10),
	}}
	for _, c := range contents {
		index.Manifests = append(index.Manifests, c.described())
	}
	return index
}

// fromOCI reads an OCI index as the Index of a bundle.
func fromOCI(oci v1.IndexManifest) (Index, error) {
	about := oci.Annotations
	version, err := strconv.Atoi(about[annotationSchema])
	if err != nil {
		return Index{}, errors.New("not a netlab bundle: its index has no schema version")
	}
	if version != SchemaVersion {
		return Index{}, fmt.Errorf("schema version %d, written by netlab %s; this netlab reads version %d, and both sides need the same netlab", version, about[annotationNetlab], SchemaVersion)
	}
	index := Index{SchemaVersion: version, Netlab: about[annotationNetlab], Platform: about[annotationPlatform], Labs: strings.Fields(about[annotationLabs])}
	if index.Bytes, err = strconv.ParseInt(about[annotationBytes], 10, 64); err != nil {
		return index, errors.New("index: it has no size")
	}
	for _, d := range oci.Manifests {
		e := Entry{ID: d.Annotations[annotationID], What: d.Annotations[annotationWhat], Form: d.Annotations[annotationForm],
			From: d.Annotations[annotationFrom], Value: d.Annotations[annotationValue], Digest: d.Digest.String()}
		if e.Bytes, err = strconv.ParseInt(d.Annotations[annotationBytes], 10, 64); err != nil || e.Bytes < 0 {
			return index, fmt.Errorf("index: entry %q has no size", e.ID)
		}
		if !slices.Contains([]string{FormImage, FormFile, FormTree, FormNote}, e.Form) {
			return index, fmt.Errorf("index: entry %q has form %q", e.ID, e.Form)
		}
		index.Entries = append(index.Entries, e)
	}
	return index, nil
}
