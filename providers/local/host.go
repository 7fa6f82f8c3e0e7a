package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/regular"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// host is an outside host: a Container over the Debian base. It implements
// providers.Machine, whether it is running or not.
type host struct {
	Container
	machine topology.Machine
}

func hostOf(lab labs.Name, dir string, m topology.Machine) host {
	return host{Container{Lab: lab, Name: m.Name, Dir: filepath.Join(dir, "hosts", m.Name), Logs: filepath.Join(dir, "logs", m.Name)}, m}
}

// Hosts adds the outside hosts of a lab to the machines of its Running.
func Hosts(running *providers.Running, dir string) {
	for _, m := range running.Plan.Hosts() {
		running.Machines[m.Name] = hostOf(running.Plan.Lab, dir, m)
	}
}

// Command implements providers.Machine. If the host is off the command fails to start.
func (h host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	m := Machine{Lab: h.Lab, Name: h.Name, PID: h.PID(), LogDir: h.Container.Logs}
	cmd := m.Command(ctx, argv...)
	if m.PID == 0 {
		cmd.Err = h.off()
	}
	return cmd
}

// Dial implements providers.Machine.
func (h host) Dial(ctx context.Context, path string) (net.Conn, error) {
	pid := h.PID()
	if pid == 0 {
		return nil, h.off()
	}
	return Machine{PID: pid}.Dial(ctx, path)
}

// Logs implements providers.Machine.
func (h host) Logs() string { return h.Container.Logs }

func (h host) off() error { return providers.Off(h.machine) }

// startHosts starts all outside hosts of the plan in parallel and removes those that are not in
// the plan. In a running host only services whose command or files have changed are restarted; the
// whole host is restarted if the netlab executable or its root file system has changed. It returns
// once all services are ready.
func startHosts(ctx context.Context, req providers.Request) error {
	if err := removeHosts(ctx, req); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, m := range req.Plan.Hosts() {
		all.Go(func() error {
			h := hostOf(req.Plan.Lab, req.Dir, m)
			if err := h.start(ctx, req.Plan, req.Artifacts); err != nil {
				return fmt.Errorf("start host %s: %w", m.Name, err)
			}
			return nil
		})
	}
	return all.Wait()
}

// removeHosts removes hosts that are no longer in the plan.
func removeHosts(ctx context.Context, req providers.Request) error {
	entries, err := os.ReadDir(filepath.Join(req.Dir, "hosts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if m, planned := req.Plan.Machine(e.Name()); planned && m.Kind == topology.KindHost {
			continue
		}
		h := hostOf(req.Plan.Lab, req.Dir, topology.Machine{Name: e.Name()})
		if err := errors.Join(h.clear(ctx), h.Remove(ctx)); err != nil {
			return fmt.Errorf("remove host %s: %w", e.Name(), err)
		}
	}
	return nil
}

// made is what a running host was started with.
type made struct {
	Self   string
	Lowers []string
}

// start starts the host or updates it.
func (h host) start(ctx context.Context, plan topology.Plan, artifacts components.Artifacts) error {
	services, planned := artifacts.Hosts[h.Name]
	if !planned {
		return hint.With(errors.New("the lab was made by an earlier version of netlab: the host's services are not in its state"), "run `netlab up` with the lab's file")
	}
	runc := artifacts.Programs["runc"]
	if runc == "" || artifacts.Debian() == "" {
		return errors.New("the lab's artifacts have no runc or no Debian base")
	}
	now := made{Self: artifacts.Self, Lowers: lowersOf(services, artifacts.Debian())}
	was, err := h.recall()
	if err != nil {
		return err
	}
	running := h.PID() != 0 && h.inPlace() && slices.Equal(was.Lowers, now.Lowers) && was.Self == now.Self
	if !running {
		if err := h.clear(ctx); err != nil {
			return err
		}
		if !slices.Equal(was.Lowers, now.Lowers) { // the overlay's upper directory is only valid with the same lower ones
			if err := os.RemoveAll(h.Dir); err != nil {
				return err
			}
		}
		if err := h.MakeDirs(); err != nil {
			return err
		}
		if !fabric.Has(h.Lab, h.Name) { // it ended with the PID 1 that was cleared
			if err := fabric.Restore(ctx, plan, []string{h.Name}); err != nil {
				return err
			}
		}
	}
	if running {
		if err := h.adopt(ctx); err != nil {
			return err
		}
	}
	want, err := h.furnish(plan, services)
	if err != nil {
		return err
	}
	if !running {
		if err := h.Start(ctx, runc, now.Lowers, h.hostSpec(artifacts.Self, capabilitiesOf(services))); err != nil {
			return err
		}
		if err := h.remember(now); err != nil {
			return err
		}
	}
	return h.await(ctx, services, want, plan.Limit(serviceLimit, serviceLimit))
}

// lowersOf are the lower directories of a host's overlay, the topmost first.
func lowersOf(services []components.HostService, debian string) []string {
	var lowers []string
	for _, s := range services {
		if s.Layer != "" && !slices.Contains(lowers, s.Layer) { // the programs of a component share one
			lowers = append(lowers, s.Layer)
		}
	}
	return append(lowers, debian)
}

// capabilitiesOf are what services need beyond hostCapabilities.
func capabilitiesOf(services []components.HostService) (all []string) {
	for _, s := range services {
		all = append(all, s.Capabilities...)
	}
	return all
}

// clear kills the remaining processes of the host, including agents of earlier versions of netlab,
// which ran directly in the host's network namespace.
func (h host) clear(ctx context.Context) error {
	err := KillAll(ctx, func() []int {
		return slices.DeleteFunc(Processes(h.Lab), func(pid int) bool {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			f := SplitZero(args)
			return len(f) < 5 || !slices.Equal(f[1:5], []string{"agent", "serve", "--name", h.Name})
		})
	})
	return errors.Join(err, h.Clear(ctx))
}

// inPlace reports whether PID 1 is in the host's network namespace of the fabric.
func (h host) inPlace() bool {
	is, err1 := os.Stat(fmt.Sprintf("/proc/%d/ns/net", h.PID()))
	want, err2 := os.Stat(fabric.Path(h.Lab, h.Name))
	return err1 == nil && err2 == nil && os.SameFile(is, want)
}

func (h host) recall() (was made, err error) {
	path := h.Path("made.json")
	found, err := atomicfile.ReadJSON(path, &was)
	if err == nil && found && len(was.Lowers) == 0 {
		err = &atomicfile.DamagedError{Path: path, Err: errors.New("it has no lower directories")}
	}
	if err != nil {
		err = hint.With(fmt.Errorf("record of host %s: %w", h.Name, err),
			fmt.Sprintf("restore the file from a backup; or remove it, after which the next `netlab up` recreates %s and its files are lost", h.Name))
	}
	return was, err
}

func (h host) remember(now made) error {
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return atomicfile.Write(h.Path("made.json"), data, 0o644)
}

// furnish writes the host's files, into the running host or to its disk, has its PID 1 reload the
// services if they have changed, and returns the hash of the services file.
func (h host) furnish(plan topology.Plan, services []components.HostService) (hash string, err error) {
	files, err := hostFiles(plan, h.machine, services)
	if err != nil {
		return "", err
	}
	place, pid := h.Path("upper"), h.PID()
	if pid != 0 {
		place = fmt.Sprintf("/proc/%d/root", pid)
	}
	// Symbolic links in the host must not lead out of it.
	root, err := os.OpenRoot(place)
	if err != nil {
		return "", err
	}
	defer root.Close()
	changed := false
	for path, text := range files {
		wrote, err := writeChanged(root, strings.TrimPrefix(path, "/"), text)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
		changed = changed || wrote && path == pid1.ServicesFile
	}
	if changed && pid != 0 {
		if err := unix.Kill(pid, unix.SIGHUP); err != nil {
			return "", fmt.Errorf("have PID 1 reload its services: %w", err)
		}
	}
	return pid1.Hash([]byte(files[pid1.ServicesFile])), nil
}

// writeChanged atomically replaces a file whose content differs.
func writeChanged(root *os.Root, path, text string) (bool, error) {
	if was, err := regular.Read(root, path, 1<<20); err == nil && string(was) == text {
		return false, nil
	}
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	if err := root.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return false, err
	}
	return true, root.Rename(path+".new", path)
}

// hostFiles are the files of an outside host, by their absolute path in it.
func hostFiles(plan topology.Plan, m topology.Machine, services []components.HostService) (map[string]string, error) {
	resolv := "# the lab has no internet host, and so no DNS server\n"
	if len(m.Nameservers) > 0 {
		resolv = "nameserver " + m.Nameserver().String() + "\n"
	}
	files := map[string]string{"/etc/hostname": m.Name + "\n", "/etc/hosts": hostsFile(plan), "/etc/resolv.conf": resolv}
	var list []pid1.Service
	for _, s := range services {
		config, err := json.Marshal(s.Files) // its keys are sorted
		if err != nil {
			return nil, err
		}
		list = append(list, pid1.Service{Name: s.Name, Argv: s.Argv, After: s.After, Log: "/var/log/" + s.Name + ".log", Cgroup: true, Config: pid1.Hash(config)})
		for path, text := range s.Files {
			files[path] = text
		}
	}
	data, err := json.MarshalIndent(list, "", "  ")
	files[pid1.ServicesFile] = string(data)
	return files, err
}
