package bundle

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WriteTree archives what is below a directory, without the file that skip names: directories,
// files (executable or not) and symlinks, all of them root's and of the epoch.
func WriteTree(w io.Writer, dir, skip string) error { return writeTree(w, dir, skip, nil) }

// writeTree is WriteTree, with a hard link to its place in a layer for each file that is shared, by its
// name.
func writeTree(w io.Writer, dir, skip string, shared map[string]place) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil || name == skip {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, ModTime: epoch, Format: tar.FormatPAX, Mode: 0o755}
		switch {
		case d.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		case info.Mode()&fs.ModeSymlink != 0:
			h.Typeflag = tar.TypeSymlink
			if h.Linkname, err = os.Readlink(p); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			h.Typeflag, h.Size, h.Mode = tar.TypeReg, info.Size(), 0o644|int64(info.Mode().Perm()&0o111)
			if at, is := shared[name]; is {
				h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, at.String()
			}
		default:
			return fmt.Errorf("%s is %s, which a bundle cannot hold", p, info.Mode().Type())
		}
		if err := out.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(out, in)
		return err
	})
	return errors.Join(err, out.Close())
}

// ReadTree makes below a directory what the archive of a bundle's directory has, and nothing outside of
// it. Layer opens a layer that the entry refers to, by its digest in hex.
func ReadTree(r io.Reader, dir string, layer func(hex string) (io.ReadCloser, error)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(h.Name, "/")
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.Mkdir(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = writeFile(root, name, in, fs.FileMode(h.Mode)&0o755)
		case tar.TypeLink:
			err = fromLayer(h.Linkname, layer, func(in io.Reader) error {
				return writeFile(root, name, in, fs.FileMode(h.Mode)&0o755)
			})
		default:
			err = fmt.Errorf("%s: type %q is not supported", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

// fromLayer passes the file of a layer that a place names to write.
func fromLayer(place string, layer func(hex string) (io.ReadCloser, error), write func(io.Reader) error) error {
	hex, name, _ := strings.Cut(place, "/")
	in, err := layer(hex)
	if err != nil {
		return err
	}
	defer in.Close()
	for archive := tar.NewReader(in); ; {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("layer %s has no file %s", hex, name)
		case err != nil:
			return fmt.Errorf("layer %s: %w", hex, err)
		case h.Typeflag == tar.TypeReg && h.Name == name:
			return write(archive)
		}
	}
}

func writeFile(root *os.Root, name string, in io.Reader, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}
