package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/verifytest"
)

// briefly is how long the lab measures.
const briefly = "verify: {throughput: {duration: 1s, streams: [1], repeats: 1}}\n"

// TestConformance: virtual machines pass the suite with a lab that has everything. While it is
// whole every path passes, with evidence and measurements, and it is saved and put back.
func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	self := providertest.Netlab(t)
	providertest.Run(t, providertest.Suite{
		Provider: "libvirt",
		New:      func() providers.Provider { return Provider{} },
		Software: providertest.SoftwareOf(t, self),
		Kill: func(ctx context.Context, lab labs.Name, _, node string) error {
			h, err := connect(ctx, "")
			if err != nil {
				return err
			}
			defer h.close()
			return destroy(h, domainName(lab, node))
		},
		Lab:  "libvirt: {cpus: 1, memory: 2GiB, images: " + d.Images + "}\n" + briefly,
		Slow: true,
		Inside: func(t *testing.T, in providertest.Lab) {
			t.Setenv("NETLAB_STATE_DIR", in.State)
			w := whole{in, self}
			t.Cleanup(func() {
				if t.Failed() {
					keepLogs(t, filepath.Join(in.State, in.Plan.Lab.Label(), "logs"))
				}
			})
			for _, m := range in.Plan.Nodes() {
				t.Run(m.Name, func(t *testing.T) { w.machine(t, m.Name) })
			}
			t.Run("paths", w.paths)
			t.Run("verbs", w.verbs)
			t.Run("snapshots", w.snapshots)
		},
	})
	if left, err := os.ReadDir(d.Images); err != nil || len(left) > 0 {
		t.Errorf("left of the pool: %v (%v)", left, err)
	}
}

// whole is the suite's lab, and the netlab that users get.
type whole struct {
	providertest.Lab
	self string
}

func (w whole) netlab(t *testing.T, args ...string) []byte {
	t.Helper()
	began := time.Now()
	out, err := command.Run(exec.Command(w.self, args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("netlab %s took %s", strings.Join(args, " "), time.Since(began).Round(time.Second))
	return out
}

// machine: its disk has the size of the lab file, and the images; its console is kept.
func (w whole) machine(t *testing.T, name string) {
	m := w.Running.Machines[name]
	if size := run(t, m, "sh", "-c", "df --output=size --block-size=1G / | tail -n1"); strings.TrimSpace(size) != "10" {
		t.Errorf("the root file system has %s GiB, want 10", size)
	}
	if images := run(t, m, "ctr", "--namespace=k8s.io", "images", "list", "--quiet"); !strings.Contains(images, "registry.k8s.io/pause:") {
		t.Errorf("containerd has the images %q", images)
	}
	if text, err := os.ReadFile(filepath.Join(m.Logs(), "console.log")); err != nil || !strings.Contains(string(text), "netlab: the machine is ready") {
		t.Errorf("the console says %q (%v)", text, err)
	}
}

// verbs: the commands on a running lab work as with other providers.
func (w whole) verbs(t *testing.T) {
	lab := w.Plan.Lab.Label()
	says := func(want string, args ...string) {
		t.Helper()
		if out := string(w.netlab(t, args...)); !strings.Contains(out, want) {
			t.Errorf("netlab %s says %s, want %s", strings.Join(args, " "), out, want)
		}
	}
	w.netlab(t, "load", lab, providertest.Archive(t, "nlt.test/loaded:1"))
	for _, m := range w.Plan.Nodes() {
		says("nlt.test/loaded:1\n", "exec", lab, m.Name, "--", "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
	}
	says(", by metallb\n", "trace", lab, "client", "echo-lb")
	says("==> a/kubelet.log <==\n", "logs", lab, "a")
	says("up (provider libvirt", "status", lab)
}

// paths: all pass, and are followed hop by hop and measured.
func (w whole) paths(t *testing.T) {
	r := allPass(t, w.netlab(t, "verify", w.Plan.Lab.Label(), "-o", "json", "--evidence", "--throughput="+checks.RoutePodCrossNode, "--latency="+checks.RouteClusterIP))
	verifytest.Evidence(t, r, verifytest.Way{Encapsulated: true, Inside: "kube-proxy", Outside: "kube-proxy"})
	verifytest.Measured(t, r, checks.RoutePodCrossNode, checks.RouteClusterIP)
}

// snapshots: memory and disks of both machines, and with them the cluster, come back as they
// were, twice, while the machines go on in between.
func (w whole) snapshots(t *testing.T) {
	lab := w.Plan.Lab.Label()
	boots := map[string]string{}
	for _, m := range w.Plan.Nodes() {
		boots[m.Name] = run(t, w.Running.Machines[m.Name], "cat", "/proc/sys/kernel/random/boot_id")
	}
	put := func(what string) {
		for name := range boots { // /run is memory
			run(t, w.Running.Machines[name], "sh", "-c", "echo "+what+" | tee /run/it /var/lib/it")
		}
	}
	put("before")
	w.netlab(t, "snapshot", "save", lab, "fresh")
	fails := func(want string, args ...string) {
		t.Helper()
		var exit *exec.ExitError
		if out, err := exec.Command(w.self, args...).CombinedOutput(); !errors.As(err, &exit) || !strings.Contains(string(out), want) {
			t.Errorf("netlab %s: %v, %s; want %s", strings.Join(args, " "), err, out, want)
		}
	}
	fails(`already has a snapshot "fresh"`, "snapshot", "save", lab, "fresh")
	fails(`has no snapshot "none"`, "snapshot", "restore", lab, "none")
	if all, err := (Provider{}).Snapshots(filepath.Join(w.State, lab)); err != nil || len(all) != 1 || all[0].Name != "fresh" || all[0].Bytes < 100<<20 {
		t.Errorf("snapshots: %+v (%v)", all, err)
	}
	if list := string(w.netlab(t, "snapshot", "list", lab)); !strings.Contains(list, "fresh ") {
		t.Errorf("snapshots: %s", list)
	}
	w.netlab(t, "kubectl", lab, "--", "create", "configmap", "meanwhile")
	for range 2 {
		put("after")
		w.netlab(t, "snapshot", "restore", lab, "fresh")
		running, err := Provider{}.Attach(t.Context(), w.Plan, filepath.Join(w.State, lab))
		if err != nil {
			t.Fatal(err)
		}
		for name, boot := range boots {
			m := running.Machines[name]
			if text := run(t, m, "cat", "/run/it", "/var/lib/it"); text != "before\nbefore\n" {
				t.Errorf("%s has %q", name, text)
			}
			if is := run(t, m, "cat", "/proc/sys/kernel/random/boot_id"); is != boot {
				t.Errorf("%s has rebooted", name)
			}
			if text := run(t, m, "date", "+%s"); !near(text, time.Now()) {
				t.Errorf("the clock of %s says %s", name, text)
			}
		}
	}
	fails("NotFound", "kubectl", lab, "--", "get", "configmap", "meanwhile")
	allPass(t, w.netlab(t, "verify", lab, "-o", "json"))
}

// near reads seconds since 1970.
func near(text string, now time.Time) bool {
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() < time.Minute
}

// allPass reads a report in which no path may have failed.
func allPass(t *testing.T, out []byte) report.Report {
	t.Helper()
	var r report.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if s := r.Summary; r.Provider != "libvirt" || s.Pass < 30 || s.Fail+s.Broken > 0 {
		t.Errorf("provider %s, paths: %+v", r.Provider, s)
	}
	for _, p := range r.Paths {
		if p.Outcome == report.Fail || p.Outcome == report.Broken {
			t.Errorf("%s: %s: %s", p.ID, p.Outcome, p.Reason)
		}
	}
	return r
}

// keepLogs shows the ends of a lab's logs, which go with the lab.
func keepLogs(t *testing.T, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	for _, f := range files {
		t.Logf("%s:\n%s", f, tail(f, 20))
	}
}
