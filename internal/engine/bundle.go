package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/artifacts/bundle"
	"netlab.dev/netlab/components"
)

// CreateBundle obtains what labs require and writes it to a file, which is replaced only by a
// whole bundle. It returns the bundle's index and its size in bytes.
func (e Engine) CreateBundle(ctx context.Context, sets []components.Set, version, file string, p Progress) (index bundle.Index, size int64, err error) {
	if err := e.lacksTools(sets); err != nil {
		return index, 0, err
	}
	about := bundle.Index{Netlab: version}
	for _, set := range sets {
		about.Labs = append(about.Labs, set.Plan.Lab.String())
	}
	out, err := openPartial(file)
	if err != nil {
		return index, 0, err
	}
	whole := false
	defer func() {
		if !whole {
			os.Remove(out.Name())
		}
		out.Close() // and unlocks it
	}()
	cache := e.Software
	cache.Progress = p
	if index, err = cache.WriteBundle(ctx, sets, about, out, p.Step); err != nil {
		return index, 0, fmt.Errorf("write %s: %w", file, err)
	}
	info, err := out.Stat()
	if err := errors.Join(err, out.Chmod(0o644), out.Sync()); err != nil {
		return index, 0, fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(out.Name(), file); err != nil {
		return index, 0, err
	}
	whole = true
	return index, info.Size(), nil
}

// partialOf is what a bundle is written to until it is whole. One of a process that was killed is
// replaced by the next.
func partialOf(file string) string {
	return filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".partial")
}

// openPartial opens it, empty, for this process alone.
func openPartial(file string) (*os.File, error) {
	for {
		out, err := os.OpenFile(partialOf(file), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(out.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("%s is being written by another process", file), out.Close())
		}
		// The other process may have finished it between the two.
		is, err1 := out.Stat()
		at, err2 := os.Stat(out.Name())
		if err1 == nil && err2 == nil && os.SameFile(is, at) {
			return out, out.Truncate(0)
		}
		out.Close()
	}
}

// ImportBundle puts what a bundle holds into the cache. It returns the bundle's index, and how
// many of its entries the cache lacked.
func (e Engine) ImportBundle(ctx context.Context, file string, p Progress) (index bundle.Index, added int, err error) {
	err = reading(file, func(in *os.File) error {
		index, added, err = e.Software.ReadBundle(ctx, in, p.Step)
		return err
	})
	return index, added, err
}

// Bundle returns the index of a bundle, without reading the rest, and the size of its file in bytes.
func (e Engine) Bundle(file string) (index bundle.Index, size int64, err error) {
	err = reading(file, func(in *os.File) error {
		info, err := in.Stat()
		if err != nil {
			return err
		}
		size = info.Size()
		r, err := bundle.Open(in)
		if err != nil {
			return err
		}
		defer r.Close()
		index = r.Index
		return nil
	})
	return index, size, err
}

// VerifyBundle reads a whole bundle and compares it with its digests.
func (e Engine) VerifyBundle(ctx context.Context, file string) (index bundle.Index, err error) {
	err = reading(file, func(in *os.File) error {
		index, err = artifacts.CheckBundle(ctx, in)
		return err
	})
	return index, err
}

// reading reads a file; its errors name it.
func reading(file string, read func(*os.File) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := read(in); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
