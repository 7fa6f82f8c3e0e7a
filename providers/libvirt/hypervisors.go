package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// hypervisors are the hypervisors of a lab, by the Hypervisor field of their machines.
type hypervisors map[string]*hypervisor

// of returns the hypervisor of a machine.
func (hs hypervisors) of(m topology.Machine) *hypervisor { return hs[m.Remote] }

func (hs hypervisors) close() {
	for _, h := range hs {
		h.close()
	}
}

// place is the set of hypervisors that run a lab's machines.
type place struct {
	URI    string   `json:"uri,omitempty"`       // of the local hypervisor; "" for none
	Remote []string `json:"elsewhere,omitempty"` // URIs of remote hypervisors
}

// placeOf returns the hypervisors of a plan's machines.
func placeOf(plan topology.Plan) (p place) {
	if plan.LocalVMs() {
		p.URI = resolve(settings.Of(plan).URI)
	}
	p.Remote = plan.Remotes()
	return p
}

// with returns the union of two places.
func (p place) with(q place) place {
	if p.URI == "" {
		p.URI = q.URI
	}
	all := slices.Sorted(slices.Values(append(slices.Clone(p.Remote), q.Remote...)))
	p.Remote = slices.Compact(all)
	return p
}

// reach connects to every hypervisor of a place. missed has the errors of unreachable ones by URI,
// "" for the local one.
func (p place) reach(ctx context.Context) (hs hypervisors, missed map[string]error) {
	hs, missed = hypervisors{}, map[string]error{}
	if p.URI != "" {
		if h, err := connect(ctx, p.URI); err == nil {
			hs[""] = h
		} else {
			missed[""] = err
		}
	}
	for _, uri := range p.Remote {
		if h, err := connectRemote(ctx, uri); err == nil {
			hs[uri] = h
		} else {
			missed[uri] = err
		}
	}
	return hs, missed
}

// connect connects to every hypervisor of a place and fails if one is unreachable.
func (p place) connect(ctx context.Context) (hypervisors, error) {
	hs, missed := p.reach(ctx)
	if len(missed) > 0 {
		hs.close()
		return nil, joined(missed)
	}
	return hs, nil
}

func joined(missed map[string]error) (errs error) {
	for _, uri := range sorted(missed) {
		errs = errors.Join(errs, missed[uri])
	}
	return errs
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// placeFile records the hypervisors of a lab's machines, for a Delete without a plan.
const placeFile = "hypervisor.json"

func remember(dir string, p place) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, placeFile), data, 0o644)
}

// recall returns what remember recorded; known is false if there is no record. A damaged one is an
// error: the lab's machines may be anywhere.
func recall(dir string) (p place, known bool, err error) {
	path := filepath.Join(dir, placeFile)
	known, err = atomicfile.ReadJSON(path, &p)
	if err != nil {
		err = hint.With(err, "it lists the hypervisors of the lab; if none is left with machines of it, remove "+path)
	}
	return p, known, err
}

// remoteRoot is netlab's directory on a remote machine. It has for each lab its owner, the netlab
// executable that creates the lab's networks there, consoles and saved memory. It is not in /run,
// which may be mounted noexec.
const remoteRoot = local.GuestsDir

// remoteDir is a lab's directory on a remote machine.
func remoteDir(lab labs.Name) string { return filepath.Join(remoteRoot, lab.Label()) }

// dir returns the directory of a lab on the hypervisor's machine; here is the one on this machine.
func (h *hypervisor) dir(lab labs.Name, here string) string {
	if h.remote == nil {
		return here
	}
	return remoteDir(lab)
}

// suffix distinguishes the files of each hypervisor in a lab's directory on this machine.
func (h *hypervisor) suffix() string {
	if h.remote == nil {
		return ""
	}
	s := "@" + h.remote.At.Host
	if h.remote.At.Port != 0 {
		s += "-" + strconv.Itoa(h.remote.At.Port)
	}
	return s
}

// on returns " on HOST" for a remote hypervisor, for messages.
func (h *hypervisor) on() string {
	if h.remote == nil {
		return ""
	}
	return " on " + h.remote.At.Host
}

// mkdir creates a directory on the hypervisor's machine, with its parents.
func (h *hypervisor) mkdir(ctx context.Context, path string) error {
	if h.remote == nil {
		return os.MkdirAll(path, 0o755)
	}
	_, err := h.remote.Run(ctx, nil, "mkdir", "-p", path)
	return err
}

// clear removes a file or directory on the hypervisor's machine.
func (h *hypervisor) clear(ctx context.Context, path string) error {
	if h.remote == nil {
		return os.RemoveAll(path)
	}
	_, err := h.remote.Run(ctx, nil, "rm", "-rf", path)
	return err
}

// rename renames a file or directory on the hypervisor's machine.
func (h *hypervisor) rename(ctx context.Context, from, to string) error {
	if h.remote == nil {
		return os.Rename(from, to)
	}
	_, err := h.remote.Run(ctx, nil, "mv", "-T", from, to)
	return err
}

// read reads a file on the hypervisor's machine.
func (h *hypervisor) read(ctx context.Context, path string) ([]byte, error) {
	if h.remote == nil {
		return os.ReadFile(path)
	}
	return h.remote.Run(ctx, nil, "cat", path)
}

// checkRemote returns the unmet requirements of a remote machine.
func (h *hypervisor) checkRemote(ctx context.Context) error {
	out, err := h.remote.Run(ctx, nil, "sh", "-c", "id -u; uname -m; uname -s")
	if err != nil {
		return err
	}
	var errs error
	switch said := strings.Fields(string(out)); {
	case len(said) != 3:
		errs = fmt.Errorf("%s: unexpected output of id and uname: %q", h.remote.At.Host, out)
	case said[0] != "0":
		errs = hint.With(fmt.Errorf("the lab's networks on %s require root, and %s is not root", h.remote.At.Host, h.remote.At.User), "write qemu+ssh://root@"+h.remote.At.Host+"/system")
	case said[1] != "x86_64" || said[2] != "Linux":
		errs = fmt.Errorf("virtual machines require Linux on amd64, and %s is %s on %s", h.remote.At.Host, said[1], said[2])
	}
	return errs
}

// ends returns the other machines of each network, as seen from the machine of one hypervisor.
func (hs hypervisors) ends(plan topology.Plan, at string) fabric.VTEPs {
	ends := fabric.VTEPs{}
	for _, n := range plan.Networks {
		if n.VNI == 0 {
			continue
		}
		if at != "" {
			ends[n.Name] = []fabric.VTEP{{Address: hs[at].remote.Own}}
		}
		for _, uri := range plan.Remotes() {
			if uri == at || !plan.On(n.Name, uri) {
				continue
			}
			end := fabric.VTEP{Address: hs[uri].remote.Its}
			if at == "" {
				end.Name = uri
			}
			ends[n.Name] = append(ends[n.Name], end)
		}
	}
	return ends
}
