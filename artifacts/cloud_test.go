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
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// qcow2 is the start of a disk in format qcow2, version 3, and some data.
func qcow2(backing, size, incompatible uint64) []byte {
	b := bytes.Repeat([]byte("data"), 1<<16)
	copy(b, "QFI\xfb")
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint64(b[8:], backing)
	binary.BigEndian.PutUint64(b[24:], size)
	binary.BigEndian.PutUint64(b[72:], incompatible)
	return b
}

func sum256(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
func sum512(b []byte) string { h := sha512.Sum512(b); return hex.EncodeToString(h[:]) }

// booting is a plan whose machines boot an image.
func booting(image labs.Image) topology.Plan {
	return topology.Plan{Image: topology.CloudImage{Image: image, Largest: 4 << 30, Field: "libvirt.disk"}}
}

// left lists what a cache holds besides locks.
func left(t *testing.T, cache string) (files []string) {
	t.Helper()
	filepath.WalkDir(cache, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(p)) != inLocks {
			files = append(files, p)
		}
		return err
	})
	return files
}

// An image is downloaded once, through a redirect, whoever asks for it, and then had offline.
func TestCloudImage(t *testing.T) {
	data := qcow2(0, 2<<30, 0)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/latest.qcow2" {
			http.Redirect(w, r, "/debian-12.qcow2", http.StatusFound)
			return
		}
		asked.Add(1)
		w.Write(data)
	}))
	defer server.Close()
	var steps []string
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, downloads: downloads(), step: func(name string) func(error) {
		steps = append(steps, name)
		return func(error) {}
	}}
	image := labs.Image{URL: server.URL + "/latest.qcow2", SHA512: strings.ToUpper(sum512(data))}
	var file string
	for range 2 {
		var err error
		if file, err = o.cloudImage(t.Context(), booting(image)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s has %d bytes (%v)", file, len(got), err)
	}
	if asked.Load() != 1 || len(steps) != 1 || !strings.HasPrefix(steps[0], "download latest.qcow2") {
		t.Errorf("downloaded %d times, reported as %q", asked.Load(), steps)
	}
	o.Sources, image.URL = nil, "https://elsewhere.invalid/debian.qcow2"
	if again, err := o.cloudImage(t.Context(), booting(image)); err != nil || again != file {
		t.Errorf("offline: %s (%v)", again, err)
	}
	if none, err := o.cloudImage(t.Context(), booting(labs.Image{})); err != nil || none != "" {
		t.Errorf("without an image: %q (%v)", none, err)
	}
	local := filepath.Join(t.TempDir(), "local.qcow2")
	other := qcow2(0, 1<<30, 0)
	if err := os.WriteFile(local, other, 0o644); err != nil {
		t.Fatal(err)
	}
	if file, err := o.cloudImage(t.Context(), booting(labs.Image{URL: "file://" + local, SHA256: sum256(other)})); err != nil {
		t.Errorf("a file, offline: %s (%v)", file, err)
	}
	small := booting(image)
	small.Image.Largest = 1 << 30
	if _, err := o.cloudImage(t.Context(), small); err == nil || !strings.Contains(err.Error(), "is a disk of 2GiB, and libvirt.disk is 1GiB") || hintOf(err) != "write libvirt: {disk: 2GiB} or more" {
		t.Errorf("a disk that is too small: %v", err)
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// A download that is not the image of the lab file is refused, and nothing of it is kept.
func TestCloudImageRefused(t *testing.T) {
	good := qcow2(0, 2<<30, 0)
	for name, c := range map[string]struct {
		serve  http.HandlerFunc
		sum    string // sha256; "": what is served has it
		data   []byte
		offer  download
		cancel bool
		want   string
		hint   string
	}{
		"another checksum": {sum: strings.Repeat("0", 64), data: good,
			want: "checksum mismatch: its sha256 is\n  " + sum256(good) + ", expected from the lab file\n  " + strings.Repeat("0", 64), hint: "same list of its publisher"},
		"not there":  {serve: http.NotFound, sum: sum256(good), want: "the server answers 404 Not Found", hint: "look at libvirt.image.url"},
		"a page":     {data: []byte(strings.Repeat("<!DOCTYPE html>", 10)), want: `is not a qcow2 disk: it begins with "<!DOCTYP"`, hint: "qemu-img convert"},
		"short":      {data: []byte("QFI\xfb"), want: "is not a qcow2 disk", hint: "qemu-img convert"},
		"a backing":  {data: qcow2(1024, 1<<30, 0), want: "stores a part of its disk in another file", hint: "convert it to one file"},
		"other data": {data: qcow2(0, 1<<30, 4), want: "stores a part of its disk in another file", hint: "convert it to one file"},
		"cut off": {sum: sum256(good), want: "unexpected EOF", hint: "look at libvirt.image.url", serve: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)))
			w.Write(good[:1000])
		}},
		"stalled": {sum: sum256(good), want: "no data received for 100ms", hint: "proxies", offer: download{stall: 100 * time.Millisecond, largest: 1 << 30},
			serve: func(w http.ResponseWriter, r *http.Request) {
				w.Write(good[:1000])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}},
		"silent": {sum: sum256(good), want: "no data received for 100ms", offer: download{stall: 100 * time.Millisecond, largest: 1 << 30},
			serve: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"more than the most": {sum: sum256(good), serve: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)))
			w.Write(good)
		}, want: "bytes, the maximum is 1000", offer: download{stall: time.Minute, largest: 1000}},
		"endless": {sum: sum256(good), want: "more than 1000 bytes", offer: download{stall: time.Minute, largest: 1000}, serve: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(good)
			}
		}},
		"interrupted": {sum: sum256(good), want: "context canceled", cancel: true, serve: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(name, func(t *testing.T) {
			if c.serve == nil {
				c.serve = func(w http.ResponseWriter, r *http.Request) { w.Write(c.data) }
			}
			if c.sum == "" {
				c.sum = sum256(c.data)
			}
			if c.offer == (download{}) {
				c.offer = downloads()
			}
			server := httptest.NewServer(c.serve)
			defer server.Close()
			o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, downloads: c.offer, step: func(string) func(error) { return func(error) {} }}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.cancel {
				time.AfterFunc(50*time.Millisecond, cancel)
			}
			_, err := o.cloudImage(ctx, booting(labs.Image{URL: server.URL + "/x.qcow2", SHA256: c.sum}))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), server.URL) || !strings.Contains(hintOf(err), c.hint) {
				t.Errorf("%v; hint %q", err, hintOf(err))
			}
			if files := left(t, o.Dir); len(files) > 0 {
				t.Errorf("left: %v", files)
			}
		})
	}
}

func TestCloudImageOffline(t *testing.T) {
	o := obtaining{Cache: Cache{Dir: t.TempDir()}}
	_, err := o.cloudImage(t.Context(), booting(labs.Image{URL: "https://images.invalid/x.qcow2", SHA256: sum256(nil)}))
	if err == nil || !strings.Contains(err.Error(), "cloud image https://images.invalid/x.qcow2 is not in the cache, and nothing is downloaded: netlab is offline") {
		t.Error(err)
	}
}
