package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/internal/hint"
)

// PruneCache removes entries of the cache that have not been used for a time and that no lab needs:
// none of the state directory, and none whose machines run, wherever its state is. With dry it only
// lists them.
func (e Engine) PruneCache(unused time.Duration, dry bool) ([]artifacts.Entry, error) {
	text, err := e.references()
	if err != nil {
		return nil, err
	}
	return e.Software.Prune(unused, func(path string) bool {
		// By the last two names: a path in a mount begins at the root of its file system.
		return bytes.Contains(text, []byte(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))))
	}, dry)
}

// references returns texts that have the paths of everything that labs need.
func (e Engine) references() ([]byte, error) {
	var text bytes.Buffer
	names, err := e.Root.Labs()
	if err != nil {
		return nil, err
	}
	for _, lab := range names {
		state, err := e.Root.Read(lab)
		if err != nil {
			return nil, hint.With(fmt.Errorf("what lab %s needs is not known: %w", lab, err), fmt.Sprintf("remove the lab with `netlab down %s`", lab))
		}
		data, err := json.Marshal(state.Artifacts)
		if err != nil {
			return nil, err
		}
		text.Write(data)
	}
	seen := map[string]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		space, err := os.Readlink(filepath.Join(p, "ns", "mnt"))
		// Root may lack what a process of the machine has (CAP_SYS_RESOURCE): a lab's has no more than netlab.
		if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
			return nil, hint.With(fmt.Errorf("what running labs need is not known: %w", err), "run netlab with sudo, or as root")
		}
		if err != nil || seen[space] { // it has exited, or is of the same machine
			continue
		}
		mounts, err := os.ReadFile(filepath.Join(p, "mountinfo"))
		seen[space] = err == nil
		text.Write(mounts)
	}
	return text.Bytes(), nil
}
