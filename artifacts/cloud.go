package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// fromURL is the origin of what was downloaded.
const fromURL = "download"

// download holds the limits of downloads from URLs, which use the environment's proxies and
// follow redirects.
type download struct {
	stall   time.Duration // without a byte
	largest int64         // bytes
}

// The largest image that any distribution publishes is a few GiB.
func downloads() download { return download{stall: time.Minute, largest: 32 << 30} }

// cloudImage returns the cloud image that a plan's machines boot, downloading it once; "" if
// they boot none. A cached image had the checksum of the lab file.
func (o obtaining) cloudImage(ctx context.Context, p topology.Plan) (string, error) {
	if p.Image.URL == "" {
		return "", nil
	}
	image := p.Image.Image
	dir, err := o.keep(ctx, cloudItem(image), func(dir string, rec *record) error {
		if err := o.lacksImage(p); err != nil {
			return err
		}
		rec.From = fromURL
		file := filepath.Join(dir, "image.qcow2")
		if err := o.downloads.fetch(ctx, o, image, file); err != nil {
			return err
		}
		_, err := checkQCOW2(image.URL, file)
		return err
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "image.qcow2")
	size, err := checkQCOW2(image.URL, file)
	if largest := p.Image.Largest; err == nil && size > largest {
		const gib = 1 << 30
		section, field, _ := strings.Cut(p.Image.Field, ".")
		err = hint.With(fmt.Errorf("cloud image %s is a disk of %s, and %s is %s", image.URL, size, p.Image.Field, largest),
			fmt.Sprintf("write %s: {%s: %s} or more", section, field, (size+gib-1)/gib*gib))
	}
	return file, err
}

// cloudItem is keyed by the checksum alone: the same image from elsewhere is the same.
func cloudItem(image labs.Image) item {
	return item{inClouds, "image", keyOf(strings.ToLower(image.SHA256), strings.ToLower(image.SHA512))}
}

// checksum returns the hash that an image is checked with, its name, and the expected sum.
func checksum(image labs.Image) (h hash.Hash, name, want string) {
	if image.SHA512 != "" {
		return sha512.New(), "sha512", strings.ToLower(image.SHA512)
	}
	return sha256.New(), "sha256", strings.ToLower(image.SHA256)
}

// fetch downloads an image into a file, and refuses one with another checksum.
func (d download) fetch(ctx context.Context, o obtaining, image labs.Image, to string) (err error) {
	from, err := url.Parse(image.URL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("no data received for %s", d.stall)) })
	defer stalled.Stop()
	refused := func(err error) error {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return hint.With(fmt.Errorf("download %s: %w", image.URL, err), "look at libvirt.image.url; proxies are those of the environment")
	}
	answer, err := d.ask(ctx, image.URL)
	if err != nil {
		return refused(err)
	}
	defer answer.Body.Close()
	what := "download " + path.Base(from.Path)
	if answer.ContentLength > 0 {
		what += fmt.Sprintf(" (%d MiB)", (answer.ContentLength+1<<20-1)>>20)
	}
	done := o.step(what)
	defer func() { done(err) }()
	h, name, want := checksum(image)
	err = d.save(io.TeeReader(restarting{answer.Body, stalled, d.stall}, h), to)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return hint.With(fmt.Errorf("download %s: %w", image.URL, err), "make room in "+o.Dir+", or set NETLAB_CACHE_DIR")
	case err != nil:
		return refused(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return hint.With(fmt.Errorf("cloud image %s: checksum mismatch: its %s is\n  %s, expected from the lab file\n  %s", image.URL, name, got, want),
			"take URL and "+name+" from the same list of its publisher; the file behind a URL with `latest` in it changes")
	}
	return nil
}

// ask requests a file by HTTP or from this machine and returns the answer, whose body is unread.
func (d download) ask(ctx context.Context, at string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "netlab ("+runtime.Version()+")")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	transport.DisableKeepAlives = true
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, bare(err)
	}
	switch {
	case answer.StatusCode != http.StatusOK:
		err = fmt.Errorf("the server answers %s", answer.Status)
	case answer.ContentLength > d.largest:
		err = fmt.Errorf("it has %d bytes, the maximum is %d", answer.ContentLength, d.largest)
	default:
		return answer, nil
	}
	answer.Body.Close()
	return nil, err
}

// bare is an HTTP client's error without the URL, which is named already.
func bare(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// save writes what it reads into a file, and fails when it is more than the maximum.
func (d download) save(from io.Reader, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(from, d.largest+1))
	err = errors.Join(err, out.Close())
	if err == nil && n > d.largest {
		err = fmt.Errorf("it has more than %d bytes, the maximum", d.largest)
	}
	return err
}

// restarting is a reader that restarts a timer whenever data arrives.
type restarting struct {
	io.Reader
	timer *time.Timer
	limit time.Duration
}

func (r restarting) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.timer.Reset(r.limit)
	}
	return n, err
}

// checkQCOW2 returns the size of a qcow2 disk. It refuses other formats, and disks with parts
// in other files, which would be read from the hypervisor
// (https://www.qemu.org/docs/master/interop/qcow2.html).
func checkQCOW2(url, file string) (labs.Size, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 80)
	if n, err := io.ReadFull(f, head); err != nil || !bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return 0, hint.With(fmt.Errorf("cloud image %s is not a qcow2 disk: it begins with %q", url, head[:min(n, 8)]),
			"take the publisher's qcow2, or convert it: qemu-img convert -O qcow2")
	}
	version, backing, size := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint64(head[24:])
	const externalData = 1 << 2
	if backing != 0 || version >= 3 && binary.BigEndian.Uint64(head[72:])&externalData != 0 {
		return 0, hint.With(fmt.Errorf("cloud image %s stores a part of its disk in another file", url), "convert it to one file: qemu-img convert -O qcow2")
	}
	return labs.Size(size), nil
}

// lacksImage returns an error if a plan's cloud image is not cached and will not be downloaded.
func (c Cache) lacksImage(p topology.Plan) error {
	if p.Image.URL == "" || !c.offline() || strings.HasPrefix(p.Image.URL, "file:") {
		return nil
	}
	if _, here := c.have(cloudItem(p.Image.Image)); here {
		return nil
	}
	return hint.With(fmt.Errorf("cloud image %s is not in the cache, and nothing is downloaded: netlab is offline", p.Image.URL),
		"run without --offline (NETLAB_OFFLINE), or name a file: url: file:///PATH")
}
