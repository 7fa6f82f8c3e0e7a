package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
	"netlab.dev/netlab/topology/fabric/residue"
)

// The test binary plays netlab's part in Machine.Command, as netlab does for a user.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		os.Exit(CommandMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == FarVerb {
		os.Exit(FarMain(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// vms is a lab of two virtual machines and what a provider is asked to make it of.
type vms struct {
	images string
	req    providers.Request
	before residue.Snapshot
}

func newVMs(t *testing.T, name string, change ...func(*labs.Lab)) vms {
	t.Helper()
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := labstest.Known()
	known.Kubernetes, known.Providers = catalog.Known().Kubernetes, []string{"libvirt"}
	lab := labs.Default(name, known)
	lab.Networks[1].MTU = 1400
	lab.Nodes[1].Count, lab.Nodes[1].Networks = 0, []string{"lan", "wan"}
	lab.Libvirt.Images, lab.Libvirt.CPUs, lab.Libvirt.Memory = d.Images, 1, 1<<30
	for _, c := range change {
		c(&lab)
	}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	v := vms{images: d.Images, req: providers.Request{Plan: plan, Dir: t.TempDir(), Step: func(string) func(error) { return func(error) {} }}}
	if v.req.Stock, err = providertest.Resolver(t, providertest.Netlab(t)).Obtain(t.Context(), plan, v.req.Step); err != nil {
		t.Fatal(err)
	}
	v.delete(t) // what a killed test left
	if v.before, err = residue.Take(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.delete(t) })
	return v
}

func (v vms) delete(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := (Provider{}).Delete(ctx, v.req.Plan.Lab, v.req.Dir); err != nil {
		t.Error(err)
	}
}

// gone: no domain, no pool, no volume, no link, no process, no file.
func (v vms) gone(t *testing.T) {
	t.Helper()
	v.delete(t)
	if left, err := os.ReadDir(v.images); err != nil || len(left) > 0 {
		t.Errorf("left of the pool: %v (%v)", left, err)
	}
	if found, err := (Provider{}).Find(); err != nil || len(found) > 0 {
		t.Errorf("left: domains or pools of %v (%v)", found, err)
	}
	if _, err := os.Stat(v.req.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state is still there (%v)", err)
	}
	providertest.NothingLeft(t, v.before, v.req.Plan.Lab)
}

// TestMachines: two machines boot at once, are what the plan says, reach each other and the
// outside hosts; one that is killed is missed and comes back with its disk, while the other
// goes on. They are saved, put back, stopped and started; deleted without their state they
// leave nothing.
func TestMachines(t *testing.T) {
	v := newVMs(t, "nlt-vms")
	ctx := t.Context()
	began := time.Now()
	running, again, err := Provider{}.machines(ctx, v.req)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("machines run after %s", time.Since(began).Round(time.Second))
	if len(again) > 0 || running.APIPort == 0 {
		t.Errorf("started again: %v; port %d", again, running.APIPort)
	}
	for _, m := range v.req.Plan.Nodes() {
		t.Run(m.Name, func(t *testing.T) { looksAsPlanned(t, running.Machines[m.Name].(Machine), m) })
	}
	if missing, err := fabric.Diff(v.req.Plan); err != nil || len(missing) > 0 {
		t.Errorf("the networks are not as planned: %v (%v)", missing, err)
	}
	for from, to := range map[string]string{"cp": "172.30.0.11", "w": "172.30.0.100"} {
		run(t, running.Machines[from], "ping", "-c1", "-W10", to)
	}
	for _, from := range []string{"client", "internet"} { // the latter through the router
		if text := run(t, running.Machines[from], "bash", "-c", "exec 3<>/dev/tcp/172.30.0.10/22; head -c4 <&3"); text != "SSH-" {
			t.Errorf("from %s cp's SSH server says %q", from, text)
		}
	}

	run(t, running.Machines["w"], "sh", "-c", "echo kept >/var/lib/kept; sync")
	was := run(t, running.Machines["cp"], "cat", "/proc/sys/kernel/random/boot_id")
	h, err := connect(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	err = destroy(h, domainName(v.req.Plan.Lab, "w"))
	h.close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Provider{}).Attach(ctx, v.req.Plan, v.req.Dir); err == nil || !strings.Contains(err.Error(), "node w does not run") {
		t.Errorf("attach to a lab without w: %v", err)
	}
	v.req.APIPort = running.APIPort
	if running, again, err = (Provider{}).machines(ctx, v.req); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(again) != "[w]" {
		t.Errorf("started again: %v", again)
	}
	if text := run(t, running.Machines["w"], "cat", "/var/lib/kept"); text != "kept\n" {
		t.Errorf("its disk has %q", text)
	}
	if is := run(t, running.Machines["cp"], "cat", "/proc/sys/kernel/random/boot_id"); is != was {
		t.Error("cp was started again, which had not died")
	}
	v.snapshot(t, running)
	v.stopped(t)
	if err := os.RemoveAll(v.req.Dir); err != nil {
		t.Fatal(err)
	}
	v.gone(t)
}

// snapshot: memory and disks of both machines come back as they were, twice, while the
// machines go on in between.
func (v vms) snapshot(t *testing.T, running providers.Running) {
	ctx, plan, dir := t.Context(), v.req.Plan, v.req.Dir
	names := []string{"cp", "w"}
	boots := map[string]string{}
	for _, name := range names {
		boots[name] = run(t, running.Machines[name], "cat", "/proc/sys/kernel/random/boot_id")
	}
	put := func(what string) {
		for _, name := range names { // /run is memory
			run(t, running.Machines[name], "sh", "-c", "echo "+what+" | tee /run/it /var/lib/it")
		}
	}
	put("before")
	if err := (Provider{}).Save(ctx, plan, dir, "one"); err != nil {
		t.Fatal(err)
	}
	if err := (Provider{}).Save(ctx, plan, dir, "one"); err == nil || !strings.Contains(err.Error(), `a snapshot "one" already`) {
		t.Errorf("a second of this name: %v", err)
	}
	all, err := Provider{}.Snapshots(dir)
	if err != nil || len(all) != 1 || all[0].Name != "one" || all[0].Bytes < 100<<20 {
		t.Errorf("snapshots: %+v (%v)", all, err)
	}
	if err := (Provider{}).Restore(ctx, plan, dir, "none"); err == nil || !strings.Contains(err.Error(), `has no snapshot "none"`) {
		t.Errorf("one that is not there: %v", err)
	}
	for range 2 {
		put("after")
		began := time.Now()
		if err := (Provider{}).Restore(ctx, plan, dir, "one"); err != nil {
			t.Fatal(err)
		}
		t.Logf("restored after %s", time.Since(began).Round(time.Second))
		if running, err = (Provider{}).Attach(ctx, plan, dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			m := running.Machines[name]
			if text := run(t, m, "cat", "/run/it", "/var/lib/it"); text != "before\nbefore\n" {
				t.Errorf("%s has %q", name, text)
			}
			if boot := run(t, m, "cat", "/proc/sys/kernel/random/boot_id"); boot != boots[name] {
				t.Errorf("%s has booted anew", name)
			}
			if text := run(t, m, "date", "+%s"); !near(text, time.Now()) {
				t.Errorf("the clock of %s says %s", name, text)
			}
		}
	}
	run(t, running.Machines["cp"], "ping", "-c1", "-W10", "172.30.0.11")
	if missing, err := fabric.Diff(plan); err != nil || len(missing) > 0 {
		t.Errorf("the networks are not as planned: %v (%v)", missing, err)
	}
}

// near reads seconds since 1970.
func near(text string, now time.Time) bool {
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() < time.Minute
}

// stopped: Stop leaves nothing that runs, a machine that is started again has its disk.
func (v vms) stopped(t *testing.T) {
	for range 2 { // the second time there is nothing to do
		if err := (Provider{}).Stop(t.Context(), v.req.Plan.Lab, v.req.Dir); err != nil {
			t.Fatal(err)
		}
	}
	providertest.NothingLeft(t, v.before, v.req.Plan.Lab)
	for _, name := range []string{"cp", "w"} {
		text, err := os.ReadFile(filepath.Join(v.req.Dir, "logs", name, "console.log"))
		if err != nil || !strings.Contains(string(text), "Power down") {
			t.Errorf("%s was not shut down in order (%v): it said last\n%s", name, err, tail(filepath.Join(v.req.Dir, "logs", name, "console.log"), 5))
		}
	}
	running, again, err := Provider{}.machines(t.Context(), v.req)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(again)
	if fmt.Sprint(again) != "[cp w]" {
		t.Errorf("started again: %v", again)
	}
	if text := run(t, running.Machines["w"], "cat", "/var/lib/kept", "/var/lib/it"); text != "kept\nbefore\n" {
		t.Errorf("its disk has %q", text)
	}
}

func run(t *testing.T, m providers.Machine, argv ...string) string {
	t.Helper()
	out, err := command.Run(m.Command(t.Context(), argv...))
	if err != nil {
		t.Errorf("%v", err)
	}
	return string(out)
}

// looksAsPlanned asks a machine for its name, NICs, routes and room, and that programs have
// their streams and exit status.
func looksAsPlanned(t *testing.T, m Machine, planned topology.Machine) {
	if name := run(t, m, "hostname"); name != planned.Name+"\n" {
		t.Errorf("hostname is %q", name)
	}
	var links []struct {
		Name      string `json:"ifname"`
		MAC       string `json:"address"`
		MTU       int
		Addresses []struct {
			Family, Local string
			Length        int `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(run(t, m, "ip", "-json", "addr", "show")), &links); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, l := range links {
		for _, a := range l.Addresses {
			if strings.HasPrefix(l.Name, "eth") && a.Family == "inet" {
				got = append(got, fmt.Sprintf("%s %s mtu %d %s/%d", l.Name, l.MAC, l.MTU, a.Local, a.Length))
			}
		}
	}
	for _, nic := range planned.NICs {
		want = append(want, fmt.Sprintf("%s %s mtu %d %s", nic.Name, nic.MAC, nic.MTU, nic.Address))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("NICs are %v, want %v", got, want)
	}
	if routes := run(t, m, "ip", "route"); !strings.Contains(routes, "default via 172.30.0.1 dev eth0") {
		t.Errorf("routes are\n%s", routes)
	}
	if size := run(t, m, "sh", "-c", "df --output=size --block-size=1G / | tail -n1"); strings.TrimSpace(size) != "10" {
		t.Errorf("the root file system has %s GiB, want 10", size)
	}
	cmd := m.Command(t.Context(), "sh", "-c", "cat; echo told >&2; exit 7")
	cmd.Stdin = strings.NewReader("asked")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 || stdout.String() != "asked" || stderr.String() != "told\n" {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	if images := run(t, m, "ctr", "--namespace=k8s.io", "images", "list", "--quiet"); !strings.Contains(images, "registry.k8s.io/pause:") {
		t.Errorf("containerd has the images %q", images)
	}
	if text, err := os.ReadFile(filepath.Join(m.Logs(), "console.log")); err != nil || !strings.Contains(string(text), "netlab: the machine is ready") {
		t.Errorf("the console says %q (%v)", text, err)
	}
}

// TestNeverBoots: a machine without a file system says so on its console, the error shows
// it, and nothing stays.
func TestNeverBoots(t *testing.T) {
	v := newVMs(t, "nlt-unbootable")
	v.req.Stock.Disk.Root = filepath.Join(t.TempDir(), "root.img")
	if err := os.WriteFile(v.req.Stock.Disk.Root, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Provider{}.Create(t.Context(), v.req)
	if err == nil || !strings.Contains(err.Error(), "ended before it answers SSH") || !strings.Contains(err.Error(), "stage1: mount /dev/vda: invalid argument") {
		t.Errorf("create says %v", err)
	}
	v.gone(t)
}
