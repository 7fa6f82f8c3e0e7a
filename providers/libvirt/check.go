package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Check implements providers.Provider: it requires root for the lab's networks, and a running
// libvirt with QEMU.
func (p Provider) Check(ctx context.Context, plan topology.Plan) error {
	if _, err := settings.Read(plan); err != nil {
		return err
	}
	var errs error
	if os.Geteuid() != 0 {
		errs = hint.With(errors.New("the lab's networks require root"), "run netlab with sudo, or as root")
	}
	if runtime.GOARCH != "amd64" {
		errs = errors.Join(errs, fmt.Errorf("virtual machines require amd64, and this machine is %s", runtime.GOARCH))
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		errs = errors.Join(errs, hint.With(err, "apt-get install util-linux"))
	}
	if _, err := fabric.FabricAddress(plan); err != nil {
		errs = errors.Join(errs, err)
	}
	errs = errors.Join(errs, fabric.CheckUplinks(plan))
	hs, missed := placeOf(plan).reach(ctx)
	defer hs.close()
	for _, uri := range sorted(hs) {
		_, err := kinds(hs[uri])
		errs = errors.Join(errs, err)
		if uri != "" {
			errs = errors.Join(errs, hs[uri].checkRemote(ctx))
		}
	}
	if len(missed) > 0 {
		return errors.Join(errs, joined(missed))
	}
	return errors.Join(errs, fabric.CheckUnderlay(plan, hs.ends(plan, "")))
}

// kinds returns the domain types with which a hypervisor can run x86-64 machines.
func kinds(h *hypervisor) ([]string, error) {
	text, err := h.ConnectGetCapabilities()
	if err != nil {
		return nil, fmt.Errorf("get the capabilities of %s: %w", h.uri, err)
	}
	found, err := readKinds(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.uri, err)
	}
	if !slices.Contains(found, emulated) && !slices.Contains(found, hardware) {
		return nil, hint.With(fmt.Errorf("libvirt at %s has no QEMU for x86-64 machines", h.uri), "apt-get install qemu-system-x86 qemu-utils")
	}
	return found, nil
}

// readKinds reads the domain types from libvirt's capabilities (https://libvirt.org/formatcaps.html).
func readKinds(text string) (found []string, err error) {
	var caps struct {
		Guests []struct {
			Type string `xml:"os_type"`
			Arch struct {
				Name    string `xml:"name,attr"`
				Domains []struct {
					Type string `xml:"type,attr"`
				} `xml:"domain"`
			} `xml:"arch"`
		} `xml:"guest"`
	}
	if err := xml.Unmarshal([]byte(text), &caps); err != nil {
		return nil, fmt.Errorf("parse libvirt's capabilities: %w", err)
	}
	for _, g := range caps.Guests {
		if g.Type != "hvm" || g.Arch.Name != "x86_64" {
			continue
		}
		for _, d := range g.Arch.Domains {
			found = append(found, d.Type)
		}
	}
	return found, nil
}

// virtualisationFile records the domain type of a lab's machines.
const virtualisationFile = "virtualisation"

// probeLimit bounds a probe: with hardware virtualisation a kernel boots within a second.
const probeLimit = 15 * time.Second

// probeWord makes the init program of a machine print probeAnswer and power off.
const (
	probeWord   = "netlab.probe"
	probeAnswer = "this machine runs virtual machines"
)

// virtualisation returns the domain type of the plan's Nodes for each hypervisor.
func (hs hypervisors) virtualisation(ctx context.Context, req providers.Request) (map[string]string, error) {
	kinds := map[string]string{}
	for _, m := range req.Plan.Nodes() {
		if kinds[m.Remote] != "" {
			continue
		}
		kind, err := virtualisation(ctx, req, hs.of(m))
		if err != nil {
			return nil, err
		}
		kinds[m.Remote] = kind
	}
	return kinds, nil
}

// emulated reports whether a hypervisor emulates Nodes of the lab with this directory, as recorded
// by virtualisation.
func (hs hypervisors) emulated(dir string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(hs)), func(h *hypervisor) bool {
		kind, err := os.ReadFile(filepath.Join(dir, virtualisationFile+h.suffix()))
		return err == nil && string(kind) == emulated
	})
}

// virtualisation returns the domain type of the lab's machines. That /dev/kvm exists does not prove
// that it works, so a machine is started with it; the result is recorded.
func virtualisation(ctx context.Context, req providers.Request, h *hypervisor) (string, error) {
	file := filepath.Join(req.Dir, virtualisationFile+h.suffix())
	if was, err := os.ReadFile(file); err == nil {
		return string(was), nil
	}
	offered, err := kinds(h)
	if err != nil {
		return "", err
	}
	kind := emulated
	if slices.Contains(offered, hardware) {
		store, err := openPool(h, req.Plan.Lab, req.Dir, settings.Of(req.Plan))
		if err != nil {
			return "", err
		}
		b, err := store.base(req.Artifacts.Disk)
		if err != nil {
			return "", err
		}
		done := req.Step("probe for hardware virtualisation" + h.on())
		if probe(ctx, h, req, b) {
			kind = hardware
		}
		done(nil)
	}
	return kind, errors.Join(ctx.Err(), atomicfile.Write(file, []byte(kind), 0o644))
}

// probe starts a machine without disks and NICs and waits for its console output.
func probe(ctx context.Context, h *hypervisor, req providers.Request, b base) bool {
	// The name contains a dot, which Node names cannot.
	name, console := domainName(req.Plan.Lab, "probe.kvm"), filepath.Join(h.dir(req.Plan.Lab, req.Dir), "logs", "probe.log")
	v := virtual{name: name, kind: hardware, size: settings.Libvirt{CPUs: 1, Memory: 256 << 20}, kernel: b.kernel, initrd: b.initrd,
		words: probeWord, console: console}
	text, err := v.xml()
	if err != nil {
		return false
	}
	if errors.Join(h.mkdir(ctx, filepath.Dir(console)), h.clear(ctx, console)) != nil {
		return false
	}
	if _, err := h.DomainCreateXML(text, 0); err != nil {
		return false
	}
	defer destroy(h, name)
	for deadline := time.Now().Add(probeLimit); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		said, _ := h.read(ctx, console)
		if strings.Contains(string(said), probeAnswer) {
			return true
		}
		if on, err := running(h, name); err == nil && !on {
			said, _ := h.read(ctx, console)
			return strings.Contains(string(said), probeAnswer)
		}
	}
	return false
}
