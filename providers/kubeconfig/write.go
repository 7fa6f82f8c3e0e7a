package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"netlab.dev/netlab/internal/atomicfile"
)

// lockLimit bounds the wait for another writer of the file.
const lockLimit = 5 * time.Second

// change rewrites a file atomically and keeps its mode and owner; it removes the file if act
// reports that it is empty. A symbolic link stays one. The lock is the same as kubectl's.
func change(file string, act func(config *api.Config, made bool) (empty bool, err error)) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	unlock, err := lock(file)
	if err != nil {
		return err
	}
	defer unlock()
	data, err := os.ReadFile(file)
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return err
	}
	if err := known(file, data); err != nil {
		return err
	}
	config, err := load(file)
	if err != nil {
		return err
	}
	empty, err := act(config, made)
	if err != nil {
		return err
	}
	if empty {
		return os.Remove(file)
	}
	if data, err = clientcmd.Write(*config); err != nil {
		return err
	}
	return atomicfile.Replace(file, data, 0o600)
}

// lock creates the file's lock file, as clientcmd.ModifyConfig does.
func lock(file string) (unlock func(), err error) {
	name := file + ".lock"
	for deadline := time.Now().Add(lockLimit); ; time.Sleep(20 * time.Millisecond) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) || time.Now().After(deadline) {
			return nil, fmt.Errorf("lock %s: %w", file, err)
		}
	}
}
