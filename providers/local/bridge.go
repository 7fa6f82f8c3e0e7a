package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers/command"
)

// bridgeFilter is the kernel's module br_netfilter, by which packets that a bridge forwards
// pass the firewall. Nothing asks the kernel for it by itself, and many a machine that runs
// no containers has it on disk alone.
type bridgeFilter struct {
	sysctls string // a directory that comes with the module
	load    func(context.Context) error
}

func kernelBridgeFilter() bridgeFilter {
	return bridgeFilter{"/proc/sys/net/bridge", func(ctx context.Context) error {
		_, err := command.Run(exec.CommandContext(ctx, modprobe(), "br_netfilter"))
		return err
	}}
}

// provide loads the module where it is not there yet. It acts on the machine's own bridges
// as soon as it is loaded, on which nobody asked for it: for those it is switched off.
// Namespaces that are made later begin with it switched on.
func (b bridgeFilter) provide(ctx context.Context) error {
	if exists(b.sysctls) {
		return nil
	}
	if err := b.load(ctx); err != nil {
		return hint.With(fmt.Errorf("have bridged packets pass the Nodes' firewalls: %w", err),
			"modprobe br_netfilter; in a container, on the machine that it runs on")
	}
	for _, what := range []string{"arptables", "ip6tables", "iptables"} {
		err := os.WriteFile(filepath.Join(b.sysctls, "bridge-nf-call-"+what), []byte("0"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep this machine's bridges as they were: %w", err)
		}
	}
	return nil
}

// modprobe is the program by which the kernel itself loads modules; /sbin is not on
// everybody's PATH.
func modprobe() string {
	path, err := os.ReadFile("/proc/sys/kernel/modprobe")
	if program := strings.TrimSpace(string(path)); err == nil && program != "" {
		return program
	}
	return "/sbin/modprobe"
}
