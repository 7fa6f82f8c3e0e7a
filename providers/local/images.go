package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/providers"
)

// imagesLink, in a Node's directory, leads to the images of the lab that its containerd root leads to.
const imagesLink = "images"

// Furnish gives a Node its containerd root, in its directory, of the images of the lab.
func Furnish(images, node string) error {
	name := filepath.Base(node)
	if err := artifacts.NodeRoot(images, filepath.Join(node, "containerd")); err != nil {
		return fmt.Errorf("provide the images of Node %s: %w", name, err)
	}
	to, err := filepath.Rel(node, images)
	if err != nil {
		return err
	}
	return os.Symlink(to, filepath.Join(node, imagesLink))
}

// ImagesOf returns the images that a Node's containerd root leads to; "" for a Node of an earlier
// version of netlab, whose root has hard links.
func ImagesOf(node string) string {
	images, err := filepath.EvalSymlinks(filepath.Join(node, imagesLink))
	if err != nil {
		return ""
	}
	return images
}

// HasImages reports whether the images still exist that a copy of a Node's directory leads to in
// the Node's place.
func HasImages(copied, node string) bool {
	to, err := os.Readlink(filepath.Join(copied, imagesLink))
	return err != nil || exists(filepath.Join(node, to))
}

// Images provides a lab's images for its Nodes, and removes those that none of its Nodes has.
func Images(ctx context.Context, req providers.Request) (string, error) {
	images, err := artifacts.LabImages(ctx, req.Artifacts.Store, req.Dir)
	if err != nil {
		return "", fmt.Errorf("provide the images of the lab: %w", err)
	}
	used := map[string]bool{filepath.Base(images): true}
	nodes, err1 := os.ReadDir(filepath.Join(req.Dir, "nodes"))
	all, err2 := os.ReadDir(filepath.Dir(images))
	for _, n := range nodes {
		used[filepath.Base(ImagesOf(filepath.Join(req.Dir, "nodes", n.Name())))] = true
	}
	if errors.Is(err1, fs.ErrNotExist) {
		err1 = nil
	}
	err = errors.Join(err1, err2)
	for _, i := range all {
		if err == nil && !used[i.Name()] {
			err = os.RemoveAll(filepath.Join(filepath.Dir(images), i.Name()))
		}
	}
	return images, err
}
