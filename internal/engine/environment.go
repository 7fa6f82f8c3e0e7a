package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
)

// FromEnvironment returns the engine as the process's environment configures it (NETLAB_STATE_DIR,
// NETLAB_CACHE_DIR, NETLAB_SOURCES, …), and prepares the process for running tools: see tidy. self
// is the netlab executable that Nodes run as PID 1 and as agents.
func FromEnvironment(self string) (Engine, error) {
	catalog, err := components.Load()
	if err != nil {
		return Engine{}, fmt.Errorf("read the component catalog: %w", err)
	}
	if err := tidy(); err != nil {
		return Engine{}, err
	}
	root, err := directory("NETLAB_STATE_DIR", string(providers.DefaultRoot()))
	if err != nil {
		return Engine{}, err
	}
	user, err := os.UserCacheDir()
	if err != nil && os.Getenv("NETLAB_CACHE_DIR") == "" {
		return Engine{}, hint.With(err, "set NETLAB_CACHE_DIR")
	}
	cache, err := directory("NETLAB_CACHE_DIR", filepath.Join(user, "netlab"))
	if err != nil {
		return Engine{}, err
	}
	sources, err := artifacts.SourcesOf(os.Getenv)
	if err != nil {
		return Engine{}, err
	}
	registries, err := artifacts.RegistriesOf(os.Getenv)
	if err != nil {
		return Engine{}, err
	}
	return Engine{
		Root: providers.Root(root), Owners: providers.DefaultOwners, Catalog: catalog, Providers: Providers(),
		Software: artifacts.Cache{Dir: cache, Self: self, Sources: sources, Registries: registries, NodeImage: os.Getenv("NETLAB_NODE_IMAGE")},
	}, nil
}

// tidy takes out of the environment what the user's shell means for other programs: files that
// are made are readable as the modes say (umask), no library or script is loaded into the tools
// that netlab runs, and HOME is there for them.
func tidy() error {
	syscall.Umask(0o022)
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "LD_") || name == "BASH_ENV" || name == "ENV" {
			os.Unsetenv(name)
		}
	}
	if os.Getenv("HOME") != "" {
		return nil
	}
	u, err := user.Current()
	if err != nil {
		return hint.With(err, "set HOME")
	}
	return os.Setenv("HOME", u.HomeDir)
}

// marks are what a directory of netlab's may have in its path beside letters and digits. Others
// mean something in the options of overlay mounts (":" and ","), in /proc/mounts (a space) or in
// shell scripts.
const marks = "/._-+@~="

// directory is a directory named by a variable of the environment, or a default: absolute, with
// symlinks resolved as far as it exists.
func directory(variable, otherwise string) (string, error) {
	dir := os.Getenv(variable)
	if dir == "" {
		dir = otherwise
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = resolved(dir)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	for _, r := range dir {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(marks, r) {
			return "", hint.With(fmt.Errorf("%s: path %s has a %q, which is not supported", variable, dir, r),
				"use letters, digits and any of "+strings.Join(strings.Split(marks, ""), " "))
		}
	}
	return dir, nil
}

// resolved resolves the symlinks of the part of a path that exists.
func resolved(path string) (string, error) {
	whole, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && path != "/" {
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s is a symlink to nothing", path)
		}
		parent, err := resolved(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
	}
	return whole, err
}
