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
	"golang.org/x/crypto/ssh"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/libvirt/guest"
	"netlab.dev/netlab/providers/libvirt/seed"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is one Node's place: its files on this machine. Its disks are in the lab's pool.
type node struct {
	lab     labs.Name
	machine topology.Machine
	dir     string // nodes/<name> in the lab's state directory
	logs    string // logs/<name> there
	state   string // the lab's state directory
}

func nodeOf(lab labs.Name, dir string, m topology.Machine) node {
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
	if h.remote == nil {
		return
	}
	if text, err := h.read(ctx, n.consoleOn(h)); err == nil {
		if os.MkdirAll(n.logs, 0o755) == nil {
			_ = os.WriteFile(n.console(), text, 0o644) // a copy, for `netlab logs`
		}
	}
}

func (n node) domain() string { return domainName(n.lab, n.machine.Name) }

// made is what a machine's domain is written from, kept from its first start.
type made struct {
	Machine topology.Machine `json:"machine"`
	Kernel  string           `json:"kernel,omitempty"` // "" where a cloud image's own starts
	Initrd  string           `json:"initrd,omitempty"`
	Overlay string           `json:"overlay"`          // the disk that is written to
	Beside  string           `json:"beside,omitempty"` // netlab's own disk, where Overlay is a cloud image's; written to as well
	Layers  int              `json:"layers"`           // how many overlays there were before them
	Seed    string           `json:"seed"`
}

func (n node) remember(m made) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.path("machine.json"), data, 0o644)
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
	m, over := made{Machine: n.machine, Kernel: b.kernel, Initrd: b.initrd}, backingXML{b.root, formatXML{"raw"}}
	if b.image != "" {
		s = s.OnImage(guest.Verb, guest.Install)
		m.Kernel, m.Initrd, over = "", "", backingXML{b.image, formatXML{"qcow2"}}
	}
	if err := s.Write(&image); err != nil {
		return err
	}
	// What a killed `up` left of a Node that never ran is of no use.
	if err := p.removeOf(n.machine.Name); err != nil {
		return err
	}
	if m.Seed, err = p.upload(seedName(n.machine.Name), int64(image.Len()), &image); err != nil {
		return err
	}
	if m.Overlay, err = p.overlay(overlayName(n.machine.Name, 0), over, settingsOf(req.Plan).Disk); err != nil {
		return err
	}
	if b.image != "" {
		if m.Beside, err = p.overlay(besideName(n.machine.Name, 0), backingXML{b.root, formatXML{"raw"}}, settingsOf(req.Plan).Disk); err != nil {
			return err
		}
	}
	return n.remember(m)
}

// virtual writes the Node down as a domain over its present disks.
func (n node) virtual(h *hypervisor, plan topology.Plan, kind string) (virtual, error) {
	m, whole := n.recall()
	if !whole {
		return virtual{}, fmt.Errorf("node %s has no disks", n.machine.Name)
	}
	v := virtual{name: n.domain(), kind: kind, size: settingsOf(plan), kernel: m.Kernel, initrd: m.Initrd,
		disks: []disk{{m.Overlay, "qcow2", false}}, nics: n.machine.NICs, console: n.consoleOn(h)}
	if m.Beside != "" {
		v.disks = append(v.disks, disk{m.Beside, "qcow2", false})
	}
	v.disks = append(v.disks, disk{m.Seed, "raw", true})
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
	if err := atomicfile.Write(n.path("domain.xml"), []byte(text), 0o644); err != nil {
		return err
	}
	d, err := h.DomainCreateXML(text, libvirt.DomainStartPaused)
	if err != nil {
		return taken(fmt.Errorf("make domain %s: %w", n.domain(), err), h)
	}
	if err := n.plug(ctx, h, plan, v); err != nil {
		return err
	}
	return h.DomainResume(d)
}

// taken adds to an error that a tap's name is another link's how to find whose.
func taken(err error, h *hypervisor) error {
	if strings.Contains(err.Error(), "interface already exists") {
		return hint.With(err, "a link of this name is there already"+h.on()+", in libvirt's network namespace: look at `ip -details link` there, and delete it if nobody needs it")
	}
	return err
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

// condition is one step of a machine's boot.
type condition struct {
	name  string
	pause time.Duration // between two looks, each of which costs an emulated machine time
	met   func(context.Context) error
}

// hopeless is an error that no wait mends.
type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// await waits until the Node has booted: it answers SSH, a cloud image's cloud-init has done
// its part, and containerd answers. The error tells what it waits for, why, and what the
// console last said.
func (n node) await(ctx context.Context, h *hypervisor, s *session, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	const pause = 200 * time.Millisecond
	conditions := []condition{{"it answers SSH", pause, func(ctx context.Context) error { _, err := s.open(ctx, nil); return err }}}
	if made, _ := n.recall(); made.Beside != "" {
		conditions = append(conditions, condition{"cloud-init has made it a Node", 2 * time.Second, s.installed})
	}
	conditions = append(conditions, condition{"containerd answers", pause, func(ctx context.Context) error {
		conn, err := s.unix(ctx, "/run/containerd/containerd.sock")
		if err == nil {
			conn.Close()
		}
		return err
	}})
	for _, c := range conditions {
		for {
			err := c.met(ctx)
			if err == nil {
				break
			}
			if errors.As(err, new(hopeless)) {
				return n.silent(ctx, h, fmt.Errorf("node %s cannot go on until %s: %w", n.machine.Name, c.name, err))
			}
			if running, stateErr := running(h, n.domain()); stateErr == nil && !running {
				return n.silent(ctx, h, fmt.Errorf("node %s ended before %s: %w", n.machine.Name, c.name, err))
			}
			select {
			case <-time.After(c.pause):
			case <-ctx.Done():
				return n.silent(ctx, h, fmt.Errorf("node %s waits until %s: %w: %w", n.machine.Name, c.name, ctx.Err(), err))
			}
		}
	}
	return nil
}

// outcome tells how far cloud-init is: 0 when the machine is a Node, 9 when it will never be,
// with the reason.
const outcome = "if [ -e " + guest.ReadyFile + " ]; then exit 0; fi; if [ -s " + guest.FailedFile + " ]; then cat " + guest.FailedFile + "; exit 9; fi; " +
	"if [ -e /run/cloud-init/result.json ]; then echo cloud-init ended without it:; cat /run/cloud-init/result.json; exit 9; fi; echo it goes on; exit 8"

// installed asks a machine that boots a cloud image whether it is a Node.
func (s *session) installed(ctx context.Context) error {
	err := s.run(ctx, "sh", "-c", outcome)
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.ExitStatus() == 9 {
		return hopeless{err}
	}
	return err
}

// silent adds the end of the console to an error.
func (n node) silent(ctx context.Context, h *hypervisor, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	defer cancel()
	n.fetchConsole(ctx, h)
	return hint.With(fmt.Errorf("%w; its console said last:\n%s", err, tail(n.console(), 12)), "the whole console is in "+n.console()+n.underlayHint())
}

// underlayHint tells what else may be between us and a Node elsewhere.
func (n node) underlayHint() string {
	if n.machine.Remote == "" {
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
	if len(all) == 1 && all[0] == "" {
		return "  (nothing)"
	}
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
	_ = n.session().run(ctx, "sh", "-c", "if [ -d /run/systemd/system ]; then systemctl --no-block poweroff; else kill -TERM 1; fi")
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
