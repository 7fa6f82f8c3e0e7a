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
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is the files of one Node on this machine. Its disks are in the lab's storage pool.
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

// consoleOn is the path of the console log on the hypervisor's machine.
func (n node) consoleOn(h *hypervisor) string {
	return filepath.Join(h.dir(n.lab, n.state), "logs", n.machine.Name, "console.log")
}

// fetchConsole copies the console log of a Node on a remote hypervisor to this machine, if it is
// reachable.
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

// made has the settings of a machine's domain, recorded at its first start.
type made struct {
	Machine topology.Machine `json:"machine"`
	Kernel  string           `json:"kernel,omitempty"` // "" for a cloud image, which has its own
	Initrd  string           `json:"initrd,omitempty"`
	Overlay string           `json:"overlay"`          // the writable disk
	Beside  string           `json:"beside,omitempty"` // netlab's disk, if Overlay is a cloud image's; writable too
	Layers  int              `json:"layers"`           // number of earlier overlays
	Seed    string           `json:"seed"`
}

func (n node) remember(m made) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.path("machine.json"), data, 0o644)
}

// recall returns what a Node was created from; false if its creation did not complete.
func (n node) recall() (made, bool) {
	var m made
	data, err := os.ReadFile(n.path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

// prepare creates a Node's disks: the overlay, and the seed with its files and keys.
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
	// Remove what a killed `up` left of a Node that never ran.
	if err := p.removeOf(n.machine.Name); err != nil {
		return err
	}
	if m.Seed, err = p.upload(seedName(n.machine.Name), int64(image.Len()), &image); err != nil {
		return err
	}
	if m.Overlay, err = p.overlay(overlayName(n.machine.Name, 0), over, settings.Of(req.Plan).Disk); err != nil {
		return err
	}
	if b.image != "" {
		if m.Beside, err = p.overlay(besideName(n.machine.Name, 0), backingXML{b.root, formatXML{"raw"}}, settings.Of(req.Plan).Disk); err != nil {
			return err
		}
	}
	return n.remember(m)
}

// virtual describes the Node as a domain with its current disks.
func (n node) virtual(h *hypervisor, plan topology.Plan, kind string) (virtual, error) {
	m, whole := n.recall()
	if !whole {
		return virtual{}, fmt.Errorf("node %s has no disks", n.machine.Name)
	}
	v := virtual{name: n.domain(), kind: kind, size: settings.Of(plan), kernel: m.Kernel, initrd: m.Initrd,
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

// start creates the Node's domain. It is transient: libvirt keeps nothing when it stops. It is
// resumed once its NICs are connected.
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
		return taken(fmt.Errorf("create domain %s: %w", n.domain(), err), h)
	}
	if err := n.plug(ctx, h, plan, v); err != nil {
		return err
	}
	return h.DomainResume(d)
}

// taken adds a hint to the error of a tap whose name is already in use.
func taken(err error, h *hypervisor) error {
	if strings.Contains(err.Error(), "interface already exists") {
		return hint.With(err, "a link of this name already exists"+h.on()+", in libvirt's network namespace: inspect it with `ip -details link`, and delete it if it is unused")
	}
	return err
}

// plug connects the taps of a paused domain to the lab's bridges.
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
	pause time.Duration // between two attempts, each of which takes CPU time from an emulated machine
	met   func(context.Context) error
}

// hopeless is an error that waiting cannot resolve.
type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// await waits until the Node has booted: it accepts SSH connections, a cloud image's cloud-init has done
// its part, and containerd accepts connections. The error has the unmet condition, the
// reason, and the last lines of the console.
func (n node) await(ctx context.Context, h *hypervisor, s *session, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	const pause = 200 * time.Millisecond
	conditions := []condition{{"it accepts SSH connections", pause, func(ctx context.Context) error { _, err := s.open(ctx, nil); return err }}}
	if made, _ := n.recall(); made.Beside != "" {
		conditions = append(conditions, condition{"cloud-init has made it a Node", 2 * time.Second, s.installed})
	}
	conditions = append(conditions, condition{"containerd accepts connections", pause, func(ctx context.Context) error {
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
				return n.silent(ctx, h, fmt.Errorf("node %s failed before %s: %w", n.machine.Name, c.name, err))
			}
			if running, stateErr := running(h, n.domain()); stateErr == nil && !running {
				return n.silent(ctx, h, fmt.Errorf("node %s stopped before %s: %w", n.machine.Name, c.name, err))
			}
			select {
			case <-time.After(c.pause):
			case <-ctx.Done():
				how := "timed out"
				if errors.Is(ctx.Err(), context.Canceled) {
					how = "stopped"
				}
				return n.silent(ctx, h, fmt.Errorf("node %s: %s waiting until %s: %w: %w", n.machine.Name, how, c.name, ctx.Err(), err))
			}
		}
	}
	return nil
}

// outcome reports the progress of cloud-init: exit status 0 when the machine is a Node, 9 when
// the installation failed, with the reason.
const outcome = "if [ -e " + guest.ReadyFile + " ]; then exit 0; fi; if [ -s " + guest.FailedFile + " ]; then cat " + guest.FailedFile + "; exit 9; fi; " +
	"if [ -e /run/cloud-init/result.json ]; then echo cloud-init finished without it:; cat /run/cloud-init/result.json; exit 9; fi; echo cloud-init is running; exit 8"

// installed checks whether a machine that boots a cloud image has become a Node.
func (s *session) installed(ctx context.Context) error {
	err := s.run(ctx, "sh", "-c", outcome)
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.ExitStatus() == 9 {
		return hopeless{err}
	}
	return err
}

// silent adds the last lines of the console to an error.
func (n node) silent(ctx context.Context, h *hypervisor, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	defer cancel()
	n.fetchConsole(ctx, h)
	return hint.With(fmt.Errorf("%w; last lines of its console:\n%s", err, tail(n.console(), 12)), "the whole console is in "+n.console()+n.underlayHint())
}

// underlayHint names another possible cause for a Node on a remote hypervisor.
func (n node) underlayHint() string {
	if n.machine.Remote == "" {
		return ""
	}
	return "; if the machine is ready, check that firewalls allow UDP port 4789 between the hypervisors"
}

// tail returns the last lines of a console.
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

// running reports whether a domain is running and not paused.
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

// endLimit bounds a machine's orderly shutdown.
const endLimit = 30 * time.Second

// end asks the Node's PID 1 to stop all services and power off, and waits until it has.
func (n node) end(ctx context.Context, h *hypervisor) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	// Its SSH server stops first and cannot respond any more.
	_ = n.session().run(ctx, "sh", "-c", "if [ -d /run/systemd/system ]; then systemctl --no-block poweroff; else kill -TERM 1; fi")
	for ctx.Err() == nil {
		if on, err := running(h, n.domain()); err != nil || !on {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// destroy stops a domain as a power cut does. A missing domain is not an error.
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

// remove destroys the Node and removes its disks and files.
func (n node) remove(h *hypervisor, p *pool) error {
	if err := destroy(h, n.domain()); err != nil {
		return err
	}
	return errors.Join(p.removeOf(n.machine.Name), os.RemoveAll(n.dir))
}
