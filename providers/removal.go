package providers

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Removal of trees: a Node after some use has tens of thousands of files, and each unlink may wait
// for the file system's journal, which takes in many at once. One at a time took 20 s.
const (
	removers  = 16  // at a time
	manyTrees = 256 // subtrees, so that the removers end together
)

// removeTree removes a directory and everything in it, as os.RemoveAll, many files at a time. Of a
// link it removes the link: what it leads to is the user's.
func removeTree(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return os.RemoveAll(dir)
	}
	trees := []string{dir}
	for depth := 0; depth < 8 && len(trees) < manyTrees; depth++ {
		var next []string
		for _, tree := range trees {
			entries, err := os.ReadDir(tree)
			if err != nil {
				continue // not a directory; RemoveAll below reports what it cannot remove
			}
			for _, e := range entries {
				if e.IsDir() {
					next = append(next, filepath.Join(tree, e.Name()))
				}
			}
		}
		if len(next) == 0 {
			break
		}
		trees = next
	}
	var all errgroup.Group
	all.SetLimit(removers)
	for _, tree := range trees {
		if tree != dir {
			all.Go(func() error { return os.RemoveAll(tree) })
		}
	}
	return errors.Join(all.Wait(), os.RemoveAll(dir))
}
