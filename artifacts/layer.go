package artifacts

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
)

const layerTar = "layer.tar"

// keyOfContents covers what the files of a layer are made from.
func (o obtaining) keyOfContents(k components.Component, contents components.Contents) (string, error) {
	parts := []any{contents}
	for _, f := range contents.Files {
		switch {
		case f.Build != "" || f.Copy != "":
			m, err := o.madeBy(f)
			if err != nil {
				return "", err
			}
			i, err := m.item()
			if err != nil {
				return "", err
			}
			parts = append(parts, i.key)
		case f.Own != "":
			key, err := keyOfFiles(k.Files(), f.Own)
			if err != nil {
				return "", err
			}
			parts = append(parts, key)
		case f.Self:
			parts = append(parts, o.selfHash)
		}
	}
	return keyOf(parts...), nil
}

// madeBy returns the build that a file comes from.
func (o obtaining) madeBy(f components.File) (made, error) {
	if f.Build != "" {
		return o.output(f.Build)
	}
	of, b, _, err := o.set.Copied(f.Copy)
	return made{of, b}, err
}

// layerItem is a shared layer's place in the cache.
func (o obtaining) layerItem(ref string) (item, error) {
	if o.base.ref == ref {
		return o.base.item(), nil
	}
	k, l, err := o.set.Layer(ref)
	if err != nil {
		return item{}, err
	}
	contents, err := o.keyOfContents(k, l.Contents)
	if err != nil {
		return item{}, err
	}
	over := item{}
	if l.Debian != nil && l.Debian.Over != "" {
		if over, err = o.layerItem(l.Debian.Over); err != nil {
			return item{}, err
		}
	}
	return item{inLayers, strings.ReplaceAll(ref, "/", "-"), keyOf(l.Debian, contents, over.key)}, nil
}

// layer returns the directory of a shared layer: its layer.tar and its record.
func (o obtaining) layer(ctx context.Context, ref string) (string, error) {
	k, l, err := o.set.Layer(ref)
	if err != nil {
		return "", err
	}
	i, err := o.layerItem(ref)
	if err != nil {
		return "", err
	}
	return o.keep(ctx, i, func(dir string, rec *record) (err error) {
		if o.base.ref == ref {
			return o.base.write(ctx, o, dir, rec)
		}
		var debian string
		if l.Debian != nil {
			if err := o.mayBuild("layer " + ref); err != nil {
				return err
			}
			done := o.step("install " + strings.ReplaceAll(ref, "/", " ") + " from Debian " + l.Debian.Suite)
			defer func() { done(err) }()
			if debian, err = o.debian(ctx, *l.Debian, i, dir); err != nil {
				return fmt.Errorf("layer %s: %w", ref, err)
			}
			defer os.RemoveAll(debian)
		}
		return o.writeLayer(ctx, k, l.Contents, debian, dir, rec)
	})
}

// writeLayer makes layer.tar of a tree (if one is given) and of contents.
func (o obtaining) writeLayer(ctx context.Context, k components.Component, contents components.Contents, tree, dir string, rec *record) error {
	f, err := os.Create(filepath.Join(dir, layerTar))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	w := archive{Writer: tar.NewWriter(io.MultiWriter(f, h)), links: map[uint64]string{}}
	if tree != "" {
		if err := w.tree(tree); err != nil {
			return err
		}
	}
	if err := o.writeContents(ctx, w, k, contents); err != nil {
		return err
	}
	rec.Digest = ""
	err = errors.Join(w.Close(), f.Close())
	rec.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return err
}

// writeTar copies a tar to layer.tar.
func writeTar(dir string, in io.Reader, rec *record) error {
	f, err := os.Create(filepath.Join(dir, layerTar))
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), in)
	rec.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return errors.Join(err, f.Close())
}

// writeContents writes dirs, files and links in the order of their paths. Parent directories
// are not written: entries for them would override those of lower layers.
func (o obtaining) writeContents(ctx context.Context, w archive, k components.Component, contents components.Contents) error {
	entries := map[string]func(name string) error{}
	for _, d := range contents.Dirs {
		mode := d.Mode
		if mode == 0 {
			mode = 0o755
		}
		entries[d.Path] = func(name string) error {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: d.UID, Gid: d.UID, ModTime: epoch})
		}
	}
	for link, target := range contents.Links {
		entries[link] = func(name string) error {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch})
		}
	}
	for _, f := range contents.Files {
		entries[f.To] = func(name string) error { return o.writeFile(ctx, w, k, f, name) }
	}
	for _, p := range slices.Sorted(maps.Keys(entries)) {
		if err := entries[p](strings.TrimPrefix(path.Clean(p), "/")); err != nil {
			return fmt.Errorf("put %s into a layer of %s: %w", p, k.Name, err)
		}
	}
	return nil
}

func (o obtaining) writeFile(ctx context.Context, w archive, k components.Component, f components.File, name string) error {
	switch {
	case f.Text != "":
		return w.file(name, strings.NewReader(f.Text), int64(len(f.Text)), orMode(f.Mode, 0o644), f.UID)
	case f.Own != "":
		return w.copyFrom(k.Files(), f.Own, name, f.Mode, f.UID)
	case f.Self:
		return w.copyFrom(os.DirFS(filepath.Dir(o.selfPath)), filepath.Base(o.selfPath), name, 0o755, f.UID)
	}
	m, err := o.madeBy(f)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(f.Build+f.Copy, "/")
	if f.Build != "" {
		dir, err := o.build(ctx, m)
		if err != nil {
			return err
		}
		return w.copyFrom(os.DirFS(filepath.Join(dir, "bin")), rest, name, orMode(f.Mode, 0o755), f.UID)
	}
	dir, err := o.files(ctx, m)
	if err != nil {
		return err
	}
	files := os.DirFS(filepath.Join(dir, "files"))
	if len(f.Edits) == 0 {
		return w.copyFrom(files, rest, name, f.Mode, f.UID)
	}
	text, err := fs.ReadFile(files, rest)
	if err != nil {
		return err
	}
	for _, e := range f.Edits {
		if text, err = edit(text, e); err != nil {
			return fmt.Errorf("edit %s: %w", rest, err)
		}
	}
	return w.file(name, bytes.NewReader(text), int64(len(text)), orMode(f.Mode, 0o644), f.UID)
}

// edit fails if an edit matches nothing: the upstream file is not the one it was written for.
func edit(text []byte, e components.Edit) ([]byte, error) {
	find, err := regexp.Compile(e.Find)
	if err != nil {
		return nil, err
	}
	if !find.Match(text) {
		return nil, fmt.Errorf("nothing matches %q", e.Find)
	}
	return find.ReplaceAll(text, []byte(e.Put)), nil
}

func orMode(given, otherwise int64) int64 {
	if given != 0 {
		return given
	}
	return otherwise
}

// epoch is the time of every file in a layer: equal contents, equal digests.
var epoch = time.Unix(0, 0)

// archive writes a layer.
type archive struct {
	*tar.Writer
	links map[uint64]string // inode → the name it was first written under
}

func (w archive) file(name string, r io.Reader, size, mode int64, uid int) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, Uid: uid, Gid: uid, ModTime: epoch}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

// copyFrom writes a file, or all files below a directory.
func (w archive) copyFrom(fsys fs.FS, from, to string, mode int64, uid int) error {
	return fs.WalkDir(fsys, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat() // of what a link leads to
		if err != nil {
			return err
		}
		mode := orMode(mode, 0o644|int64(info.Mode().Perm()&0o111))
		return w.file(path.Join(to, strings.TrimPrefix(p, from)), f, info.Size(), mode, uid)
	})
}

// tree writes a directory as it is on disk: owners, modes, extended attributes and
// hard links kept, times set to the epoch. Whiteouts of an overlay's upper directory become
// those of the OCI image format. Sockets and the contents of /dev are left out.
func (w archive) tree(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		h, err := w.entry(p, name)
		if err != nil || h == nil {
			return err
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		switch {
		case h.Typeflag == tar.TypeDir:
			return w.inside(p, name)
		case h.Size > 0:
			return w.contents(p)
		}
		return nil
	})
}

// entry returns the header of a file, a whiteout's if it is one, and nil for what is left out.
func (w archive) entry(p, name string) (*tar.Header, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: p, Err: err}
	}
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: epoch, Format: tar.FormatPAX}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFBLK, unix.S_IFIFO:
		return nil, nil
	case unix.S_IFCHR:
		if st.Rdev != 0 {
			return nil, nil
		}
		return marker(path.Join(path.Dir(name), ".wh."+path.Base(name))), nil
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(p); err != nil {
			return nil, err
		}
	default:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		if first, ok := w.links[st.Ino]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else if st.Nlink > 1 {
			w.links[st.Ino] = name
		}
	}
	h.PAXRecords, err = xattrs(p)
	return h, err
}

// marker is an empty file whose name says what a layer hides of those below it.
func marker(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: epoch}
}

// inside writes the marker of a directory that hides those of lower layers, and leaves out what
// is in /dev.
func (w archive) inside(p, name string) error {
	hides, err := opaque(p)
	if err != nil {
		return err
	}
	if hides {
		if err := w.WriteHeader(marker(name + "/.wh..wh..opq")); err != nil {
			return err
		}
	}
	if name == "dev" {
		return fs.SkipDir
	}
	return nil
}

// contents copies a file into the archive, after its header.
func (w archive) contents(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// xattrs returns a file's extended attributes as PAX records, except those of overlayfs.
func xattrs(p string) (map[string]string, error) {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(p, list)
	if err != nil || n == 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return nil, err
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", name, p, err)
		}
		records["SCHILY.xattr."+name] = string(value[:n])
	}
	return records, nil
}

// opaque reports whether a directory of an overlay hides the directories of lower layers.
func opaque(p string) (bool, error) {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(p, "trusted.overlay.opaque", value)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ERANGE): // none, or not "y"
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read trusted.overlay.opaque of %s: %w", p, err)
	}
	return n == 1 && value[0] == 'y', nil
}
