package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/providers/command"
)

// loadedImages are the images that the user loaded into a lab's Nodes: digest by reference.
type loadedImages map[string]string

// importLine is what ctr prints for each image that it imported.
var importLine = regexp.MustCompile(`unpacking (\S+) \((sha256:[0-9a-f]{64})\)`)

// imported reads the images that ctr says it imported.
func imported(output []byte) loadedImages {
	images := loadedImages{}
	for _, found := range importLine.FindAllSubmatch(output, -1) {
		images[string(found[1])] = string(found[2])
	}
	return images
}

// readLoaded reads the images that were loaded into a lab.
func readLoaded(dir string) (loadedImages, error) {
	images := loadedImages{}
	data, err := os.ReadFile(filepath.Join(dir, "loaded.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return images, nil
	}
	if err != nil {
		return images, err
	}
	if err := json.Unmarshal(data, &images); err != nil {
		return images, fmt.Errorf("read %s: %w", filepath.Join(dir, "loaded.json"), err)
	}
	return images, nil
}

// Loaded are the references of the images that the user loaded into a lab, whose state directory is
// dir.
func Loaded(dir string) ([]string, error) {
	images, err := readLoaded(dir)
	return slices.Sorted(maps.Keys(images)), err
}

// add adds images to those that were loaded into a lab.
func (l loadedImages) add(dir string) error {
	if len(l) == 0 {
		return nil
	}
	all, err := readLoaded(dir)
	if err != nil {
		return err
	}
	maps.Copy(all, l)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "loaded.json"), data, 0o644)
}

// loadAgain copies images that the user loaded into Nodes that lack them, such as new ones, from
// Nodes that have them.
func loadAgain(ctx context.Context, running Running, dir string, step components.Step) error {
	images, err := readLoaded(dir)
	if err != nil || len(images) == 0 {
		return err
	}
	nodes := running.Plan.Nodes()
	have := make([]loadedImages, len(nodes))
	listing, listCtx := errgroup.WithContext(ctx)
	for at, m := range nodes {
		listing.Go(func() (err error) {
			have[at], err = held(listCtx, m.Name, running.Machines[m.Name])
			return err
		})
	}
	if err := listing.Wait(); err != nil {
		return err
	}
	copying, ctx := errgroup.WithContext(ctx)
	for at, m := range nodes {
		copying.Go(func() error {
			for _, ref := range slices.Sorted(maps.Keys(images)) {
				if have[at][ref] == images[ref] {
					continue
				}
				from := slices.IndexFunc(have, func(l loadedImages) bool { return l[ref] == images[ref] })
				if from < 0 {
					continue // the user removed it everywhere
				}
				if err := copyImage(ctx, ref, running.Machines[nodes[from].Name], m.Name, running.Machines[m.Name], step); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return copying.Wait()
}

// held lists a Node's images, once containerd responds. The columns of ctr's table are REF, TYPE
// and DIGEST first.
func held(ctx context.Context, name string, node Machine) (loadedImages, error) {
	lines, err := containerdSays(ctx, node, "images", "ls")
	if err != nil {
		return nil, fmt.Errorf("list the images of Node %s: %w", name, err)
	}
	images := loadedImages{}
	for line := range strings.Lines(string(lines)) {
		if f := strings.Fields(line); len(f) > 2 {
			images[f[0]] = f[2]
		}
	}
	return images, nil
}

func copyImage(ctx context.Context, ref string, from Machine, name string, to Machine, step components.Step) (err error) {
	done := step("load into " + name + ": " + ref)
	defer func() { done(err) }()
	// Without --local ctr prints its progress into the archive.
	source := from.Command(ctx, "ctr", "--namespace=k8s.io", "images", "export", "--local", "-", ref)
	var failed strings.Builder
	source.Stderr = &failed
	out, err := source.StdoutPipe()
	if err != nil {
		return err
	}
	if err := source.Start(); err != nil {
		return err
	}
	cmd := importInto(ctx, to)
	cmd.Stdin = out
	_, err = command.Run(cmd)
	out.Close() // ends the export if the import ended early
	if waited := source.Wait(); waited != nil && (err == nil || failed.Len() > 0) {
		err = errors.Join(err, fmt.Errorf("export %s: %w %s", ref, waited, failed.String()))
	}
	return loadError(ref, name, err)
}
