package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
	"netlab.dev/netlab/topology/fabric/residue"
)

// A real sshd and libvirtd, no machine: who is let in, what is refused, and the lab's
// networks there, made and removed.
func TestReachRemote(t *testing.T) {
	providertest.NeedLabs(t)
	images := t.TempDir()
	f := libvirttest.Remote(t, images)
	ctx := t.Context()
	refused := func(uri, want, hint string) {
		t.Helper()
		_, err := connectRemote(ctx, uri)
		var hinted interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", uri, err, want)
		} else if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), hint) {
			t.Errorf("%s: %v without the hint %s", uri, err, hint)
		}
	}
	stranger, other := f.NewKey("stranger")
	refused(f.URI("", f.Write("nobody", "")), "its host key ssh-ed25519 SHA256:", "ssh-keyscan 198.18.77.2 >>")
	refused(f.URI("", f.Write("changed", knownhosts.Line([]string{f.Address()}, other)+"\n")), "differs from that in ", "ssh-keygen -R '198.18.77.2'")
	refused(f.URI("", f.Write("revoked", "@revoked * "+strings.TrimPrefix(knownhosts.Line([]string{"x"}, f.HostKey), "x "))), "is marked as revoked", "do not connect")
	refused(f.URI(stranger, ""), "permission denied for root with 1 keys", "authorized_keys")
	refused(f.URI("/nowhere/key", ""), "no such file or directory", "set it to a private key")
	refused(f.URI("", "/nowhere/known"), "no such file or directory", "set an existing file")
	refused(strings.Replace(f.URI("", ""), "/system?socket=", "/system?socket=/nowhere", 1), "libvirt at qemu+ssh://198.18.77.2/system", "systemctl start libvirtd")
	refused(strings.Replace(f.URI("", ""), "198.18.77.2", "198.18.77.2:2222", 1), "connection refused", "start its sshd")

	// The networks alone: they take no machine.
	known := labstest.Known()
	known.Providers, known.Sections = []string{"libvirt"}, map[string]labs.Section{"libvirt": settings.Section()}
	lab := labs.Default(labs.MustName("nlt-reach"), known)
	lab.Nodes[1].Count, lab.Nodes[1].Hypervisor, sizeIn(lab).Images = 0, f.URI("", ""), images
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	uri := plan.Remotes()[0]
	remove := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := fabric.Delete(ctx, plan.Lab); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(remove)
	hs, err := place{Remote: plan.Remotes()}.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer hs.close()
	if err := errors.Join(hs[uri].checkRemote(ctx), fabric.CheckUnderlay(plan, hs.ends(plan, ""))); err != nil {
		t.Error(err)
	}
	if err := fabric.Create(ctx, plan); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := hs.segments(ctx, providers.Request{Plan: plan, Step: noStep}); err != nil {
			t.Fatal(err)
		}
	}
	// What lacks is the machine's port.
	if lines, err := hs.differs(ctx, plan, nil); err != nil || fmt.Sprint(lines) != "[plug eth0 of w into network lan on 198.18.77.2]" {
		t.Errorf("networks differ: %q (%v)", lines, err)
	}
	if lines, err := hs.differs(ctx, plan, []string{"w"}); err != nil || len(lines) > 0 {
		t.Errorf("with w off networks differ: %q (%v)", lines, err)
	}
	if left := f.Left(); !slices.Contains(left, "/run/netns/netlab.nlt-reach") || len(left) < 4 {
		t.Errorf("there is %q", left)
	}
	large := plan
	large.Networks = slices.Clone(plan.Networks)
	large.Networks[0].MTU = 9000
	if err := fabric.CheckUnderlay(large, hs.ends(plan, "")); err == nil || !strings.Contains(err.Error(), "are 9050 with VXLAN, the MTU of nlt-wire is 1550") {
		t.Errorf("with large packets: %v", err)
	}
	if _, err := hs[uri].order(ctx, plan.Lab, order{Do: "create", Plan: large.At(uri), Ends: hs.ends(plan, uri)}); err == nil ||
		!strings.Contains(err.Error(), "on 198.18.77.2: stretch network lan to 198.18.77.1: packets of 9000 bytes") {
		t.Errorf("with large packets, there: %v", err)
	}
	// The netlab of that machine leaves it alone.
	before := f.Left()
	self := "NETLAB_STATE_DIR=" + t.TempDir() + " " + providertest.Netlab(t)
	said := f.In("sh", "-c", self+" down nlt-reach 2>&1; "+self+" list")
	if !strings.Contains(said, "error: lab nlt-reach belongs to another machine") || strings.Count(said, "nlt-reach") != 3 {
		t.Errorf("down and list there say\n%s", said)
	}
	if left := f.Left(); !slices.Equal(left, before) {
		t.Errorf("there were %q, and are %q", before, left)
	}

	// A name there is of whoever was first.
	ours, others := t.TempDir(), t.TempDir()
	claimed := func(lab, dir, want string) {
		t.Helper()
		err := hs[uri].claim(ctx, labs.MustName(lab), dir)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("claim %s: %s; want %s", lab, got, want)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	claimed(plan.Lab.Label(), ours, "198.18.77.2 has its own lab nlt-reach") // by its namespaces
	for range 2 {
		claimed("nlt-claim", ours, "<nil>")
		claimed("nlt-claim", others, "198.18.77.2 already has Nodes of a lab nlt-claim, created by "+host)
	}
	if err := hs[uri].forget(ctx, labs.MustName("nlt-claim")); err != nil {
		t.Error(err)
	}
	// Where a second hypervisor refuses the first is given back.
	gone, err := connectRemote(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	gone.close()
	two := hypervisors{uri: hs[uri], uri + "~": gone}
	if err := two.claim(ctx, labs.MustName("nlt-claim"), ours, place{}); err == nil {
		t.Error("a hypervisor that is not reached was claimed")
	}
	claimed("nlt-claim", others, "<nil>")
	if err := hs[uri].forget(ctx, labs.MustName("nlt-claim")); err != nil {
		t.Error(err)
	}

	store, err := openPool(hs[uri], plan.Lab, t.TempDir(), settings.Of(plan))
	if err != nil {
		t.Fatal(err)
	}
	claimed(plan.Lab.Label(), ours, "198.18.77.2 has its own lab nlt-reach") // by its pool
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	path, err := store.upload("k.root", int64(len(content)), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if there, err := hs[uri].read(ctx, path); err != nil || !bytes.Equal(there, content) {
		t.Errorf("of %d bytes %d are in %s (%v)", len(content), len(there), path, err)
	}
	if err := deletePool(hs[uri], plan.Lab); err != nil {
		t.Error(err)
	}
	if err := errors.Join(hs[uri].unlink(ctx, plan.Lab), hs[uri].forget(ctx, plan.Lab), hs[uri].unlink(ctx, plan.Lab)); err != nil {
		t.Error(err)
	}
	if left := f.Left(); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
}

func noStep(string) func(error) { return func(error) {} }

// apart is a lab of one Node here and one on another hypervisor.
const apart = `apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: nlt-elsewhere}
provider: libvirt
libvirt: {cpus: 1, memory: 2GiB, images: %q}
nodes:
  - {name: cp, role: control-plane}
  - {name: w, role: worker, hypervisor: %q}
loadBalancer: {name: none}
ingress: {name: none}
`

// TestRemote: a cluster of a Node here and one on another hypervisor passes every path, with
// packets of full size between them and the outside hosts. It is saved and put back, stopped
// and started. While the other machine does not answer, `down` says so and removes the rest;
// then, and without state, it leaves nothing on either.
func TestRemote(t *testing.T) {
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	f := libvirttest.Remote(t, d.Images)
	state := t.TempDir()
	t.Setenv("NETLAB_STATE_DIR", state)
	w := whole{self: providertest.Netlab(t)}
	providertest.RemoveKilled(t, w.self, state, "nlt-elsewhere")
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	v := vms{images: d.Images, before: before}
	v.req.Dir, v.req.Plan.Lab = filepath.Join(state, "nlt-elsewhere"), labs.MustName("nlt-elsewhere")
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, filepath.Join(v.req.Dir, "logs"))
		}
		v.delete(t)
	})
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, apart, d.Images, f.URI("", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	allPass(t, w.netlab(t, "up", "-o", "json", file))
	read, err := providers.Root(state).Read(labs.MustName("nlt-elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	v.req.Plan = read.Plan
	ctx, plan, dir := t.Context(), v.req.Plan, v.req.Dir
	running, err := Provider{}.Attach(ctx, plan, dir)
	if err != nil {
		t.Fatal(err)
	}
	uri := plan.Remotes()[0]
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer hs.close()
	for at, want := range map[string]string{"": "cp", uri: "w"} {
		if there, err := nodesOf(hs[at], plan.Lab); err != nil || len(there) != 1 || there[want].Name == "" {
			t.Errorf("at %q there are %v (%v)", at, there, err)
		}
	}
	reach := func() {
		t.Helper()
		run(t, running.Machines["cp"], "ping", "-c1", "-W10", "-Mdo", "-s1472", "172.30.0.11")
		run(t, running.Machines["w"], "ping", "-c1", "-W10", "-Mdo", "-s1472", "172.30.0.100")
		for _, from := range []string{"client", "internet"} { // the latter through the router
			if text := run(t, running.Machines[from], "bash", "-c", "exec 3<>/dev/tcp/172.30.0.11/22; head -c4 <&3"); text != "SSH-" {
				t.Errorf("from %s w's SSH server says %q", from, text)
			}
		}
	}
	reach()
	w.netlab(t, "status", plan.Lab.Label())
	if text, err := os.ReadFile(nodeOf(plan.Lab, dir, mustMachine(t, plan, "w")).console()); err != nil || !strings.Contains(string(text), "netlab: the machine is ready") {
		t.Errorf("w's console says %q (%v)", text, err)
	}

	for name := range map[string]bool{"cp": true, "w": true} {
		run(t, running.Machines[name], "sh", "-c", "echo before >/run/it; echo kept >/var/lib/kept; sync")
	}
	w.netlab(t, "snapshot", "save", plan.Lab.Label(), "one")
	if all, err := (Provider{}).Snapshots(dir); err != nil || len(all) != 1 || all[0].Bytes < 200<<20 {
		t.Errorf("snapshots: %+v (%v)", all, err)
	}
	if err := destroy(hs[uri], domainName(plan.Lab, "w")); err != nil {
		t.Fatal(err)
	}
	if _, err := (Provider{}).Attach(ctx, plan, dir); err == nil || !strings.Contains(err.Error(), "node w is off") {
		t.Errorf("attach to a lab without w: %v", err)
	}
	if out, err := exec.Command(w.self, "status", plan.Lab.Label()).Output(); err == nil || !strings.Contains(string(out), "node w is off") {
		t.Errorf("status without w: %s (%v)", out, err)
	}
	w.netlab(t, "snapshot", "restore", plan.Lab.Label(), "one")
	if running, err = (Provider{}).Attach(ctx, plan, dir); err != nil {
		t.Fatal(err)
	}
	if text := run(t, running.Machines["w"], "cat", "/run/it"); text != "before\n" {
		t.Errorf("w has %q", text)
	}
	reach()

	w.netlab(t, "stop", plan.Lab.Label())
	for _, thing := range f.Left() {
		if strings.HasPrefix(thing, "link ") || strings.HasPrefix(thing, "/run/netns") {
			t.Errorf("stop left %s", thing)
		}
	}
	// The machines alone: the cluster in them takes an emulated machine three minutes more.
	v.req.Artifacts, v.req.APIPort, v.req.Step = read.Artifacts, read.APIPort, noStep
	running, again, err := Provider{}.machines(ctx, v.req)
	if slices.Sort(again); err != nil || fmt.Sprint(again) != "[cp w]" {
		t.Fatalf("started again: %v (%v)", again, err)
	}
	if text := run(t, running.Machines["w"], "cat", "/var/lib/kept"); text != "kept\n" {
		t.Errorf("its disk has %q", text)
	}
	reach()

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	f.StopSSH()
	_, err = Provider{}.Attach(ctx, plan, dir)
	if err == nil || !strings.Contains(err.Error(), "reach 198.18.77.2:22 by SSH: dial tcp4 198.18.77.2:22: connect: connection refused") {
		t.Errorf("attach without an sshd: %v", err)
	}
	var hinted interface{ Hint() string }
	err = Provider{}.Delete(ctx, plan.Lab, dir)
	if err == nil || !strings.Contains(err.Error(), "machines of lab nlt-elsewhere are left at qemu+ssh://198.18.77.2/system") ||
		!errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "repeat `netlab down nlt-elsewhere` when it is reachable") {
		t.Errorf("down without an sshd: %v", err)
	}
	if labs, err := (Provider{}).Find(); err != nil || len(labs) > 0 {
		t.Errorf("left here: domains or pools of %v (%v)", labs, err)
	}
	providertest.NothingLeft(t, v.before, plan.Lab.Label())
	f.StartSSH()
	v.gone(t)
	if left := f.Left(); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
}

func mustMachine(t *testing.T, plan topology.Plan, name string) topology.Machine {
	m, ok := plan.Machine(name)
	if !ok {
		t.Fatalf("no machine %s", name)
	}
	return m
}

// An order from another machine names a lab, or nothing is done.
func TestOrdersOfNoLab(t *testing.T) {
	for _, text := range []string{
		`{"do": "delete"}`, `{"do": "delete", "lab": ""}`, `{"do": "delete", "lab": "."}`, `{"do": "delete", "lab": "../x"}`, `{"do": "plugged", "lab": "a", "plan": {"lab": ""}}`,
		`{"do": "create", "lab": "a"}`, `{"do": "create", "lab": "a", "plan": {"lab": "b"}}`,
	} {
		var out, errs strings.Builder
		code := RemoteMain(strings.NewReader(text), &out, &errs)
		var a answer
		if err := json.Unmarshal([]byte(out.String()), &a); code != 0 || err != nil || !strings.Contains(a.Error, "lab") {
			t.Errorf("%s: exit code %d, %s%s", text, code, out.String(), errs.String())
		}
	}
	for _, lab := range []string{"", ".", "a/b"} {
		if _, err := runIn([]string{lab, t.TempDir(), "192.0.2.1", "--", "true"}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "lab name") {
			t.Errorf("in-vm of lab %q: %v", lab, err)
		}
	}
}
