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

// bridgeFilter is the kernel module br_netfilter, which passes bridged packets to iptables. The
// kernel does not load it automatically, and machines that run no containers often have not
// loaded it.
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

// provide loads the module unless it is loaded. Loading enables it for the machine's own bridges
// too; it is disabled for those. It is enabled in network namespaces that are created later.
func (b bridgeFilter) provide(ctx context.Context) error {
	if exists(b.sysctls) {
		return nil
	}
	if err := b.load(ctx); err != nil {
		return hint.With(fmt.Errorf("load br_netfilter: %w", err),
			"run `modprobe br_netfilter`; in a container, run it on the host")
	}
	for _, what := range []string{"arptables", "ip6tables", "iptables"} {
		err := os.WriteFile(filepath.Join(b.sysctls, "bridge-nf-call-"+what), []byte("0"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("disable br_netfilter on this machine's bridges: %w", err)
		}
	}
	return nil
}

// modprobe is the program with which the kernel loads modules; /sbin is not always on the PATH.
func modprobe() string {
	path, err := os.ReadFile("/proc/sys/kernel/modprobe")
	if program := strings.TrimSpace(string(path)); err == nil && program != "" {
		return program
	}
	return "/sbin/modprobe"
}
