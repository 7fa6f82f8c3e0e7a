package providers

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/command"
)

// LoadImage imports an image archive (OCI layout or docker save; it may be compressed by gzip or
// zstd) into the containerd of every Node in parallel, and remembers its images in the lab's state
// directory dir, for Nodes that are created later.
func LoadImage(ctx context.Context, running Running, dir, archive string, step components.Step) error {
	if _, err := os.Stat(archive); err != nil {
		return err
	}
	remembered := loadedImages{}
	var mu sync.Mutex
	nodes, ctx := errgroup.WithContext(ctx)
	for _, m := range running.Plan.Nodes() {
		nodes.Go(func() (err error) {
			done := step("load into " + m.Name)
			defer func() { done(err) }()
			images, err := loadArchive(ctx, m.Name, running.Machines[m.Name], archive)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(remembered, images)
			return err
		})
	}
	return errors.Join(nodes.Wait(), remembered.add(dir))
}

// loadArchive imports an archive into a Node and returns its images.
func loadArchive(ctx context.Context, name string, node Machine, archive string) (loadedImages, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := decompressed(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", archive, err)
	}
	defer plain.Close()
	if node == nil {
		return nil, fmt.Errorf("node %s is off", name)
	}
	cmd := importInto(ctx, node)
	cmd.Stdin = plain
	out, err := command.Run(cmd)
	return imported(out), loadError(archive, name, err)
}

// loadError says what was not loaded into which Node, and if it lacks room.
func loadError(what, node string, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "no space left on device"):
		return fmt.Errorf("Node %s has no room for %s: %w", node, what, err)
	}
	return fmt.Errorf("load %s into Node %s: %w", what, node, err)
}

// decompressed reads an archive, plain or compressed, as its first bytes have it.
func decompressed(f io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(f)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		d, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

func importInto(ctx context.Context, m Machine) *exec.Cmd {
	return m.Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--local", "-")
}

// containerdLimit bounds the wait for the containerd of a Node that was just started.
const containerdLimit = 30 * time.Second

// loadMissing loads missing images into Nodes that were created from earlier artifacts: a newer
// netlab ships its own agent and sometimes newer components.
func loadMissing(ctx context.Context, running Running, of components.Artifacts, step components.Step) error {
	nodes, ctx := errgroup.WithContext(ctx)
	for _, m := range running.Plan.Nodes() {
		nodes.Go(func() error { return loadMissingInto(ctx, m.Name, running.Machines[m.Name], of, step) })
	}
	return nodes.Wait()
}

func loadMissingInto(ctx context.Context, name string, node Machine, of components.Artifacts, step components.Step) (err error) {
	images, err := listed(ctx, node, "images")
	if err != nil {
		return fmt.Errorf("list the images of Node %s: %w", name, err)
	}
	missing := slices.DeleteFunc(slices.Clone(of.Images), func(ref string) bool { return slices.Contains(images, ref) })
	if len(missing) == 0 {
		return nil
	}
	done := step("load into " + name + ": " + strings.Join(missing, ", "))
	defer func() { done(err) }()
	blobs, err := listed(ctx, node, "content")
	if err != nil {
		return fmt.Errorf("list the image content of Node %s: %w", name, err)
	}
	r, w := io.Pipe()
	defer r.Close() // stops the writer if ctr exits early
	go func() {
		w.CloseWithError(artifacts.WriteImages(of, w, missing, func(hex string) bool { return slices.Contains(blobs, "sha256:"+hex) }))
	}()
	cmd := importInto(ctx, node)
	cmd.Stdin = r
	if _, err := command.Run(cmd); err != nil {
		return loadError("images", name, err)
	}
	return nil
}

// listed lists a Node's "images" or "content" in containerd, once containerd responds.
func listed(ctx context.Context, node Machine, kind string) ([]string, error) {
	out, err := containerdSays(ctx, node, kind, "ls", "--quiet")
	return strings.Fields(string(out)), err
}

// containerdSays runs ctr in a Node until containerd responds.
func containerdSays(ctx context.Context, node Machine, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, containerdLimit)
	defer cancel()
	for {
		out, err := command.Run(node.Command(ctx, append([]string{"ctr", "--namespace=k8s.io"}, args...)...))
		if err == nil || !sleep(limited, apiRetry) {
			return out, err
		}
	}
}
