package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"netlab.dev/netlab/internal/hint"
)

// staged is a blob in the stage directory, locked: as much of it as has come.
type staged struct {
	*os.File
	digest v1.Hash
	size   int64
	have   int64
	sum    hash.Hash
	old    bool // it begins with what an earlier pull left, whose digest nobody knows
}

// open locks a blob of the stage, which the processes that pull it share.
func open(ctx context.Context, stage string, digest v1.Hash) (*os.File, error) {
	path := filepath.Join(stage, digest.Hex)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// isAt reports whether a file was not removed while its lock was waited for.
func isAt(f *os.File, path string) bool {
	is, err1 := f.Stat()
	at, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(is, at)
}

// take links a complete blob of the stage to where it belongs.
func (c *Client) take(ctx context.Context, image Image, d v1.Descriptor, stage, to string) error {
	for {
		switch err := os.Link(filepath.Join(stage, d.Digest.Hex), to); {
		case err == nil, errors.Is(err, fs.ErrExist): // a layer may be there twice
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := c.blob(ctx, image, d, stage, &Meter{}); err != nil { // swept by another process
			return err
		}
	}
}

// blob completes a blob in the stage.
func (c *Client) blob(ctx context.Context, image Image, d v1.Descriptor, stage string, meter *Meter) error {
	select {
	case c.blobs <- struct{}{}:
		defer func() { <-c.blobs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f, err := open(ctx, stage, d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &staged{File: f, digest: d.Digest, size: d.Size}
	if err := s.resume(); err != nil {
		return err
	}
	meter.Here.Add(s.have)
	var failed []error
	for n, p := range image.places {
		err := c.from(ctx, &image.places[n], s, meter)
		var here *localError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &here):
			return err
		}
		if len(image.places) > 1 {
			err = fmt.Errorf("%s: %w", shown(p.Registry), err)
		}
		failed = append(failed, err)
	}
	return Unavailable{Ref: image.ref.Name(), Host: shown(image.ref.Context().Registry), Err: joined(failed)}
}

// localError is one of this machine: no registry is at fault.
type localError struct{ error }

func (l *localError) Unwrap() error { return l.error }

func local(err error, f *os.File) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = hint.With(err, "make room in "+filepath.Dir(f.Name())+", or set NETLAB_CACHE_DIR; what was pulled stays there for the next try")
	}
	return &localError{err}
}

// resume reads what an earlier pull left.
func (s *staged) resume() error {
	info, err := s.Stat()
	if err != nil {
		return local(err, s.File)
	}
	if info.Size() > s.size {
		return s.restart()
	}
	s.sum = sha256.New()
	if s.have, err = io.Copy(s.sum, s.File); err != nil {
		return local(err, s.File)
	}
	if s.have == s.size && !s.whole() {
		return s.restart()
	}
	s.old = s.have > 0
	return nil
}

func (s *staged) whole() bool { return hex.EncodeToString(s.sum.Sum(nil)) == s.digest.Hex }

// restart drops what has come.
func (s *staged) restart() error {
	s.have, s.sum, s.old = 0, sha256.New(), false
	_, err := s.Seek(0, io.SeekStart)
	if err = errors.Join(err, s.Truncate(0)); err != nil {
		return local(err, s.File)
	}
	return nil
}

// from completes a blob at one place.
func (c *Client) from(ctx context.Context, p *place, s *staged, meter *Meter) (err error) {
	if p.RoundTripper == nil {
		if *p, err = c.place(ctx, p.Repository); err != nil {
			return err
		}
	}
	for try, pause := 0, c.limits.Pause; ; try, pause = try+1, pause*2 {
		err := c.stream(ctx, *p, s, meter)
		if err == nil && s.whole() {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("blob %s: its digest is sha256:%s", s.digest, hex.EncodeToString(s.sum.Sum(nil)))
			old := s.old
			meter.Here.Add(-s.have)
			if here := s.restart(); here != nil || !old {
				return errors.Join(err, here)
			}
		}
		if try == c.limits.Retries || !again(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// again reports whether the same request may succeed.
func again(err error) bool {
	var here *localError
	var slow slowError
	var late net.Error
	var answer *transport.Error
	switch {
	case errors.As(err, &here), errors.As(err, &slow), errors.As(err, &late) && late.Timeout():
		return false
	case errors.As(err, &answer):
		return answer.StatusCode >= http.StatusInternalServerError
	}
	return true
}

// slowError is that of a blob that comes too slowly.
type slowError struct{ error }

// stream receives the rest of a blob. It ends without an error when as many bytes are here as the
// blob has.
func (c *Client) stream(ctx context.Context, p place, s *staged, meter *Meter) error {
	if s.have == s.size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answer, err := c.get(ctx, p, s) // which has limits of its own
	if err != nil {
		return caused(ctx, err)
	}
	defer answer.Body.Close()
	var came atomic.Int64
	go c.watch(ctx, cancel, &came)
	if answer.StatusCode == http.StatusOK && s.have > 0 { // it knows no ranges
		meter.Here.Add(-s.have)
		if err := s.restart(); err != nil {
			return err
		}
	}
	buffer := make([]byte, 64<<10)
	for s.have < s.size {
		n, err := answer.Body.Read(buffer[:min(int64(len(buffer)), s.size-s.have)])
		if n > 0 {
			if _, err := s.Write(buffer[:n]); err != nil {
				return s.keep(err)
			}
			s.sum.Write(buffer[:n])
			s.have += int64(n)
			came.Add(int64(n))
			meter.Here.Add(int64(n))
			meter.Came.Add(int64(n))
		}
		switch {
		case s.have == s.size:
			return nil
		case err == io.EOF:
			return fmt.Errorf("blob %s ended after %d of %d bytes", s.digest, s.have, s.size)
		case err != nil:
			return caused(ctx, err)
		}
	}
	return nil
}

// keep keeps what is known to be on the disk after a write that failed.
func (s *staged) keep(failed error) error {
	return local(errors.Join(failed, s.Truncate(s.have)), s.File)
}

// get asks for the rest of a blob.
func (c *Client) get(ctx context.Context, p place, s *staged) (*http.Response, error) {
	at := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", p.Scheme(), p.RegistryStr(), p.RepositoryStr(), s.digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	if s.have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", s.have, s.size-1))
	}
	answer, err := (&http.Client{Transport: p.RoundTripper}).Do(request)
	if err != nil {
		return nil, plain(err)
	}
	if err := transport.CheckError(answer, http.StatusOK, http.StatusPartialContent); err != nil {
		answer.Body.Close()
		return nil, err
	}
	if want := fmt.Sprintf("bytes %d-", s.have); answer.StatusCode == http.StatusPartialContent && !strings.HasPrefix(answer.Header.Get("Content-Range"), want) {
		answer.Body.Close()
		return nil, fmt.Errorf("blob %s: the registry sends %q, not what was asked for", s.digest, answer.Header.Get("Content-Range"))
	}
	return answer, nil
}

// watch ends a download in which less comes than it should.
func (c *Client) watch(ctx context.Context, cancel context.CancelCauseFunc, came *atomic.Int64) {
	least := int64(c.limits.Window.Seconds() * float64(c.limits.Slowest))
	tick := time.NewTicker(c.limits.Window)
	defer tick.Stop()
	for was := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := came.Load()
		switch n := now - was; {
		case n == 0:
			cancel(slowError{fmt.Errorf("no data received for %s", c.limits.Window)})
			return
		case n < least:
			cancel(slowError{fmt.Errorf("%d bytes received in %s, which is too slow", n, c.limits.Window)})
			return
		}
		was = now
	}
}

// Sweep removes from a stage the blobs that nobody pulls now: those that images have taken, and
// those that were given up a while ago.
func Sweep(stage string, older time.Duration) error {
	entries, err := os.ReadDir(stage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	tryOnce, cancel := context.WithCancel(context.Background())
	cancel()
	for _, e := range entries {
		var st unix.Stat_t
		path := filepath.Join(stage, e.Name())
		if unix.Lstat(path, &st) != nil || st.Nlink < 2 && time.Since(time.Unix(st.Mtim.Unix())) < older {
			continue
		}
		if f, busy := open(tryOnce, stage, v1.Hash{Hex: e.Name()}); busy == nil {
			err = errors.Join(err, os.Remove(path), f.Close())
		}
	}
	return err
}
