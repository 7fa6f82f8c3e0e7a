package modules

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

// Fetch downloads a module and extracts from it into dir what copies lists: name → file or
// directory in the module. Got is called with the bytes that have come and, if it is known, how
// many there will be. Nothing is extracted from a module whose hash is not sum, which is as go.sum
// has it; without one, from a module whose hash is not the checksum database's.
func (s Settings) Fetch(ctx context.Context, m module.Version, sum string, copies map[string]string, dir string, got func(here, all int64)) error {
	archive := filepath.Join(dir, "module.zip")
	defer os.Remove(archive)
	if err := s.download(ctx, m, archive, got); err != nil {
		return fmt.Errorf("download %s: %w", m, err)
	}
	if err := s.check(ctx, m, sum, archive); err != nil {
		return fmt.Errorf("%s: %w", m, err)
	}
	return extract(m, archive, copies, dir)
}

// absentError: a proxy has no such module.
type absentError struct{ error }

func (s Settings) download(ctx context.Context, m module.Version, to string, got func(here, all int64)) error {
	at, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return err
	}
	all, err := s.proxies()
	if err != nil {
		return err
	}
	var problems []error
	for _, p := range all {
		err := s.get(ctx, p.url+"/"+at+"/@v/"+version+".zip", modzip.MaxZipFile, func(in io.Reader, size int64) error {
			return write(to, in, func(here int64) { got(here, size) })
		})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		problems = append(problems, err)
		var absent absentError
		if !p.always && !errors.As(err, &absent) {
			break
		}
	}
	return errors.Join(problems...)
}

// get reads what a URL gives, http, https or file, at most so many bytes of it.
func (s Settings) get(ctx context.Context, at string, largest int64, read func(in io.Reader, size int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(s.Stall, func() { cancel(fmt.Errorf("no data received for %s", s.Stall)) })
	defer stalled.Stop()
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	of := func(err error) error {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return of(err)
	}
	request.Header.Set("User-Agent", s.UserAgent)
	transport := http.DefaultTransport.(*http.Transport).Clone() // with the proxies of the environment
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return of(err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusGone:
		return of(absentError{errors.New(answer.Status)})
	case answer.StatusCode != http.StatusOK:
		return of(errors.New(answer.Status))
	case answer.ContentLength > largest:
		return of(fmt.Errorf("it has %d bytes, the maximum is %d", answer.ContentLength, largest))
	}
	counted := &counter{Reader: io.LimitReader(answer.Body, largest+1), came: func() { stalled.Reset(s.Stall) }}
	err = read(counted, answer.ContentLength)
	switch {
	case err != nil:
		return of(err)
	case counted.n > largest:
		return of(fmt.Errorf("it has more than %d bytes, the maximum", largest))
	case answer.ContentLength >= 0 && counted.n != answer.ContentLength:
		return of(fmt.Errorf("it ended after %d of %d bytes", counted.n, answer.ContentLength))
	}
	return nil
}

// counter counts what is read, and calls came for each part.
type counter struct {
	io.Reader
	n    int64
	came func()
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.n += int64(n); n > 0 {
		c.came()
	}
	return n, err
}

func write(to string, in io.Reader, got func(int64)) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	counted := &counter{Reader: in}
	counted.came = func() { got(counted.n) }
	_, err = io.Copy(out, counted)
	return errors.Join(err, out.Close())
}

// extract takes files out of a module's zip, whose hash was checked.
func extract(m module.Version, archive string, copies map[string]string, dir string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, from := range copies {
		found := false
		for _, f := range r.File {
			below, ok := under(f.Name, path.Join(m.String(), from))
			if !ok || strings.HasSuffix(f.Name, "/") {
				continue
			}
			found = true
			if err := extractFile(root, f, path.Join(name, below)); err != nil {
				return fmt.Errorf("extract %s: %w", f.Name, err)
			}
		}
		if !found {
			return fmt.Errorf("%s has no %s", m, from)
		}
	}
	return nil
}

// under is the rest of a path below another; "" for the same.
func under(name, top string) (rest string, ok bool) {
	if name == top {
		return "", true
	}
	return strings.CutPrefix(name, top+"/")
}

func extractFile(root *os.Root, f *zip.File, to string) error {
	if err := root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// hashOf is a module's hash as go.sum has it.
func hashOf(archive string) (string, error) { return dirhash.HashZip(archive, dirhash.Hash1) }
