package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/libvirt/seed"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is one Node's place: its files on this machine. Its disks are in the lab's pool.
type node struct {
	lab     string
	machine topology.Machine
	dir     string // nodes/<name> in the lab's state directory
	logs    string // logs/<name> there
	state   string // the lab's state directory
}

func nodeOf(lab, dir string, m topology.Machine) node {
	return node{lab: lab, machine: m, dir: filepath.Join(dir, "nodes", m.Name), logs: filepath.Join(dir, "logs", m.Name), state: dir}
}

func (n node) path(elem ...string) string { return filepath.Join(append([]string{n.dir}, elem...)...) }
func (n node) console() string            { return filepath.Join(n.logs, "console.log") }

// consoleOn is where the hypervisor writes the console, on its machine.
func (n node) consoleOn(h *hypervisor) string {
	return filepath.Join(h.dir(n.lab, n.state), "logs", n.machine.Name, "console.log")
}

// fetchConsole copies the console of a Node elsewhere to this machine, where it can.
func (n node) fetchConsole(ctx context.Context, h *hypervisor) {
	if h.far == nil {
		return
	}
	if text, err := h.read(ctx, n.consoleOn(h)); err == nil {
		if os.MkdirAll(n.logs, 0o755) == nil {
			os.WriteFile(n.console(), text, 0o644)
		}
	}
}

func (n node) domain() string { return domainName(n.lab, n.machine.Name) }

// made is what a machine's domain is written from, kept from its first start.
type made struct {
	Machine topology.Machine `json:"machine"`
	Kernel  string           `json:"kernel"`
	Initrd  string           `json:"initrd"`
	Overlay string           `json:"overlay"` // the disk that is written to
	Layers  int              `json:"layers"`  // how many overlays there were before it
	Seed    string           `json:"seed"`
}

func (n node) remember(m made) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return providers.WriteFile(n.path("machine.json"), data, 0o644)
}

// recall gives what a Node was made of; false when it was not made whole.
func (n node) recall() (made, bool) {
	var m made
	data, err := os.ReadFile(n.path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

// prepare makes a Node's disks: the overlay, and the seed with its files and keys.
func (n node) prepare(req providers.Request, p *pool, b base, ca *kubeadm.Authority) error {
	for _, d := range []string{n.dir, n.logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	files, err := local.Files(req.Plan, n.machine, ca)
	if err != nil {
		return err
	}
	authorized, private, public, err := seedKeys(n.state, n)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	s := seed.New(n.lab, n.machine, seed.Keys{Authorized: authorized, HostPrivate: private, HostPublic: public}, files)
	if err := s.Write(&image); err != nil {
		return err
	}
	m := made{Machine: n.machine, Kernel: b.kernel, Initrd: b.initrd}
	// What a killed `up` left of a Node that never ran is of no use.
	if err := p.removeOf(n.machine.Name); err != nil {
		return err
	}
	if m.Seed, err = p.upload(seedName(n.machine.Name), int64(image.Len()), &image); err != nil {
		return err
	}
	if m.Overlay, err = p.overlay(overlayName(n.machine.Name, 0), backingXML{b.root, formatXML{"raw"}}, req.Plan.Libvirt.Disk); err != nil {
		return err
	}
	return n.remember(m)
}

// virtual writes the Node down as a domain over its present disks.
func (n node) virtual(h *hypervisor, plan topology.Plan, kind string) (virtual, error) {
	m, whole := n.recall()
	if !whole {
		return virtual{}, fmt.Errorf("node %s has no disks", n.machine.Name)
	}
	v := virtual{name: n.domain(), kind: kind, size: *plan.Libvirt, kernel: m.Kernel, initrd: m.Initrd,
		disks: []disk{{m.Overlay, "qcow2", false}, {m.Seed, "raw", true}}, nics: n.machine.NICs, console: n.consoleOn(h)}
	for _, nic := range n.machine.NICs {
		v.taps = append(v.taps, tap(n.lab, n.machine.Name, nic.Name))
	}
	return v, nil
}

// start runs the Node's domain. It is transient: nothing of it stays when it ends. It
// runs its first instruction when its NICs are plugged.
func (n node) start(ctx context.Context, h *hypervisor, plan topology.Plan, kind string) error {
	v, err := n.virtual(h, plan, kind)
	if err != nil {
		return err
	}
	if err := h.mkdir(ctx, filepath.Dir(v.console)); err != nil {
		return err
	}
	text, err := v.xml()
	if err != nil {
		return err
	}
	if err := providers.WriteFile(n.path("domain.xml"), []byte(text), 0o644); err != nil {
		return err
	}
	d, err := h.DomainCreateXML(text, libvirt.DomainStartPaused)
	if err != nil {
		return fmt.Errorf("make domain %s: %w", n.domain(), err)
	}
	if err := n.plug(ctx, h, plan, v); err != nil {
		return err
	}
	return h.DomainResume(d)
}

// plug takes the taps of a domain that is paused into the fabric.
func (n node) plug(ctx context.Context, h *hypervisor, plan topology.Plan, v virtual) error {
	for i, nic := range n.machine.NICs {
		if err := h.plug(ctx, plan, nic, v.taps[i]); err != nil {
			return err
		}
	}
	return nil
}

// bootLimit bounds a machine's boot. An emulated one took 10 s alone and a minute beside
// others.
const bootLimit = 5 * time.Minute

// condition is one step of a machine's boot.
type condition struct {
	name string
	met  func(context.Context) error
}

// await waits until the Node has booted: it answers SSH, and its containerd answers. The
// error tells what it waits for, why, and what the console last said.
func (n node) await(ctx context.Context, h *hypervisor, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	for _, c := range []condition{
		{"it answers SSH", func(ctx context.Context) error { _, err := s.open(ctx, nil); return err }},
		{"containerd answers", func(ctx context.Context) error {
			conn, err := s.unix(ctx, "/run/containerd/containerd.sock")
			if err == nil {
				conn.Close()
			}
			return err
		}},
	} {
		for {
			err := c.met(ctx)
			if err == nil {
				break
			}
			if running, stateErr := running(h, n.domain()); stateErr == nil && !running {
				return n.silent(ctx, h, fmt.Errorf("node %s ended before %s: %w", n.machine.Name, c.name, err))
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return n.silent(ctx, h, fmt.Errorf("node %s waits until %s: %w: %w", n.machine.Name, c.name, ctx.Err(), err))
			}
		}
	}
	return nil
}

// silent adds the end of the console to an error.
func (n node) silent(ctx context.Context, h *hypervisor, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	defer cancel()
	n.fetchConsole(ctx, h)
	return providers.WithHint(fmt.Errorf("%w; its console said last:\n%s", err, tail(n.console(), 12)), "the whole console is in "+n.console()+n.underlayHint())
}

// underlayHint tells what else may be between us and a Node elsewhere.
func (n node) underlayHint() string {
	if n.machine.Hypervisor == "" {
		return ""
	}
	return "; where the machine is ready, see that firewalls let UDP port 4789 pass between the hypervisors"
}

// tail gives the last lines of a console.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(data), "\r", "")), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// running reports whether a domain runs, and is not paused.
func running(h *hypervisor, name string) (bool, error) {
	d, err := h.DomainLookupByName(name)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	state, _, err := h.DomainGetState(d, 0)
	if notFound(err) {
		return false, nil
	}
	return err == nil && libvirt.DomainState(state) == libvirt.DomainRunning, err
}

// endLimit bounds a machine's ordered end.
const endLimit = 30 * time.Second

// end asks the Node's PID 1 to end what runs and to power off, and waits until it has.
func (n node) end(ctx context.Context, h *hypervisor) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	// Its SSH server is the first thing that ends, and says nothing to this then.
	n.session().run(ctx, "kill", "-TERM", "1")
	for ctx.Err() == nil {
		if on, err := running(h, n.domain()); err != nil || !on {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// destroy ends a domain as a power cut does; one that is not there is no error.
func destroy(h *hypervisor, name string) error {
	d, err := h.DomainLookupByName(name)
	if err == nil {
		err = h.DomainDestroyFlags(d, libvirt.DomainDestroyDefault)
	}
	if notFound(err) {
		return nil
	}
	return err
}

// remove ends the Node and removes its disks and files.
func (n node) remove(h *hypervisor, p *pool) error {
	if err := destroy(h, n.domain()); err != nil {
		return err
	}
	return errors.Join(p.removeOf(n.machine.Name), os.RemoveAll(n.dir))
}
