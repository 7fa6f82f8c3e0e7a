package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"

	"netlab.dev/netlab/internal/hint"
)

// companion finds the netlab executable: beside this one, otherwise on PATH. It must be of the same
// build: netlab in Nodes answers what this plugin asks.
func companion() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	path := filepath.Join(filepath.Dir(self), "netlab")
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath("netlab"); err != nil {
			return "", hint.With(fmt.Errorf("netlab is neither in %s nor on PATH", filepath.Dir(self)), "put the netlab of the same release there")
		}
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return path, err
	}
	own, known := debug.ReadBuildInfo()
	if known && origin(info) != origin(own) {
		return path, hint.With(fmt.Errorf("%s was built from %s, this plugin from %s", path, origin(info), origin(own)), "use netlab and the plugin of one release")
	}
	return path, nil
}

// origin is what a program was built from: module, version and commit, as the Go linker recorded it.
func origin(info *debug.BuildInfo) string {
	text := info.Main.Path + " " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
			text += " " + s.Value
		}
	}
	return text
}
