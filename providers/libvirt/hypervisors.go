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
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// hypervisors are those of a lab, by the Hypervisor of the machines that they run.
type hypervisors map[string]*hypervisor

// of gives the one that runs a machine.
func (hs hypervisors) of(m topology.Machine) *hypervisor { return hs[m.Remote] }

func (hs hypervisors) close() {
	for _, h := range hs {
		h.close()
	}
}

// place is where a lab's machines run.
type place struct {
	URI    string   `json:"uri,omitempty"`       // of this machine's hypervisor; "" for none
	Remote []string `json:"elsewhere,omitempty"` // URIs of others'
}

// placeOf tells where a plan's machines are to run.
func placeOf(plan topology.Plan) (p place) {
	if plan.LocalVMs() {
		p.URI = resolve(settingsOf(plan).URI)
	}
	p.Remote = plan.Remotes()
	return p
}

// with gives all of two places.
func (p place) with(q place) place {
	if p.URI == "" {
		p.URI = q.URI
	}
	all := slices.Sorted(slices.Values(append(slices.Clone(p.Remote), q.Remote...)))
	p.Remote = slices.Compact(all)
	return p
}

// reach connects to every hypervisor of a place; of those that are not reached, missed has
// the error by URI, "" for this machine's.
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

// connect is reach for who needs all of them.
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

// placeFile keeps where a lab's machines run, for a Delete that has no plan.
const placeFile = "hypervisor.json"

func remember(dir string, p place) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, placeFile), data, 0o644)
}

func recall(dir string) (p place, known bool) {
	data, err := os.ReadFile(filepath.Join(dir, placeFile))
	known = err == nil && json.Unmarshal(data, &p) == nil
	return p, known
}

// remoteRoot is below what netlab keeps on another machine: for each lab whose it is, netlab
// itself, as the program that makes the lab's networks there, consoles and saved memory. /run
// may forbid programs.
const remoteRoot = local.GuestsDir

// remoteDir is a lab's directory there.
func remoteDir(lab labs.Name) string { return filepath.Join(remoteRoot, lab.Label()) }

// dir gives the directory of a lab on the hypervisor's machine; here is this machine's.
func (h *hypervisor) dir(lab labs.Name, here string) string {
	if h.remote == nil {
		return here
	}
	return remoteDir(lab)
}

// suffix tells apart what a lab's directory on this machine has of each hypervisor.
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

// on tells where a hypervisor is, after a word for what is there.
func (h *hypervisor) on() string {
	if h.remote == nil {
		return ""
	}
	return " on " + h.remote.At.Host
}

// mkdir makes a directory on the hypervisor's machine, and those above it.
func (h *hypervisor) mkdir(ctx context.Context, path string) error {
	if h.remote == nil {
		return os.MkdirAll(path, 0o755)
	}
	_, err := h.remote.Run(ctx, nil, "mkdir", "-p", path)
	return err
}

// clear removes a file or directory there.
func (h *hypervisor) clear(ctx context.Context, path string) error {
	if h.remote == nil {
		return os.RemoveAll(path)
	}
	_, err := h.remote.Run(ctx, nil, "rm", "-rf", path)
	return err
}

// rename gives a file or directory there its name.
func (h *hypervisor) rename(ctx context.Context, from, to string) error {
	if h.remote == nil {
		return os.Rename(from, to)
	}
	_, err := h.remote.Run(ctx, nil, "mv", "-T", from, to)
	return err
}

// read gives a file there.
func (h *hypervisor) read(ctx context.Context, path string) ([]byte, error) {
	if h.remote == nil {
		return os.ReadFile(path)
	}
	return h.remote.Run(ctx, nil, "cat", path)
}

// checkRemote reports what another machine lacks.
func (h *hypervisor) checkRemote(ctx context.Context) error {
	out, err := h.remote.Run(ctx, nil, "sh", "-c", "id -u; uname -m; uname -s")
	if err != nil {
		return err
	}
	var errs error
	switch said := strings.Fields(string(out)); {
	case len(said) != 3:
		errs = fmt.Errorf("%s says %q to id and uname", h.remote.At.Host, out)
	case said[0] != "0":
		errs = hint.With(fmt.Errorf("the lab's networks on %s take root, and %s is not", h.remote.At.Host, h.remote.At.User), "write qemu+ssh://root@"+h.remote.At.Host+"/system")
	case said[1] != "x86_64" || said[2] != "Linux":
		errs = fmt.Errorf("virtual machines are made for amd64 on Linux, and %s is %s on %s", h.remote.At.Host, said[1], said[2])
	}
	return errs
}

// ends gives the other machines of each network, as the machine of one hypervisor sees them.
func (hs hypervisors) ends(plan topology.Plan, at string) fabric.Ends {
	ends := fabric.Ends{}
	for _, n := range plan.Networks {
		if n.VNI == 0 {
			continue
		}
		if at != "" {
			ends[n.Name] = []fabric.End{{Address: hs[at].remote.Own}}
		}
		for _, uri := range plan.Remotes() {
			if uri == at || !plan.On(n.Name, uri) {
				continue
			}
			end := fabric.End{Address: hs[uri].remote.Its}
			if at == "" {
				end.Name = uri
			}
			ends[n.Name] = append(ends[n.Name], end)
		}
	}
	return ends
}
