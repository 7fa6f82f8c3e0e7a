package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	speclabs "netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/providertest"
)

// nameVersions is the one name of these labs, made one after the other.
const nameVersions = "nlt-versions"

// pair is a component of quickstart that has more than one version, and how the lab file names one.
type pair struct {
	name, kind string // as the lab file has them
	workloads  []string
	was, is    string // the default version and another one
}

// pairs are those of a catalogue.
func pairs(t *testing.T, catalog components.Catalog) []pair {
	t.Helper()
	known := catalog.Known()
	all := []pair{
		{name: "metallb", kind: "loadBalancer", workloads: []string{"-n=metallb-system deployment/metallb-controller", "-n=metallb-system daemonset/metallb-speaker"}},
		{name: "flannel", kind: "cni", workloads: []string{"-n=kube-flannel daemonset/kube-flannel-ds"}},
	}
	for n, choices := range []speclabs.Choices{known.LoadBalancers["metallb"], known.CNIs["flannel"]} {
		versions := choices.Versions()
		if len(versions) < 2 {
			t.Fatalf("%s has one version: %v", all[n].name, versions)
		}
		all[n].was, all[n].is = versions[0], versions[1]
	}
	return all
}

// at is the lab's text with the pair at a version.
func (p pair) at(t *testing.T, text, version string) string {
	t.Helper()
	return replaced(t, text, p.kind+": {name: "+p.name+",", p.kind+": {name: "+p.name+", version: "+version+",")
}

// TestVersions: a lab of the second versions is verified green, and so is one that the file takes from
// the first to the second in place, with its Nodes, Pods and VIPs, and one on an earlier Kubernetes. Their
// software takes long to build: `make test-all` runs this, `make test` does not.
func TestVersions(t *testing.T) {
	providertest.NeedLabs(t)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	all := pairs(t, catalog)
	l := newLabs(t)
	text := quickstart(t) + briefly
	second := text
	for _, p := range all {
		second = p.at(t, second, p.is)
	}
	fresh := l.lab(t, nameVersions, second)
	fresh.run(t, 0, "up", fresh.file)
	for _, p := range all {
		fresh.runs(t, p, p.is)
	}
	fresh.locked(t)
	fresh.remove(t)

	b := l.lab(t, nameVersions, text)
	b.run(t, 0, "up", b.file)
	b.kubectl(t, "create", "deployment", "theirs", "--image="+b.pauseImage(t))
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { b.updated(t, p) })
	}
	b.remove(t)

	release := catalog["kubernetes"][1]
	for _, cilium := range catalog["cilium"] {
		t.Run("Kubernetes "+release.Version+" with Cilium "+cilium.Version, func(t *testing.T) {
			older := replaced(t, all[0].at(t, text, all[0].is), "cni: {name: flannel, options: {backend: vxlan}}",
				"kubernetes: {version: "+release.Version+"}\ncni: {name: cilium, version: "+cilium.Version+"}")
			l.lab(t, nameVersions, older).older(t, release, cilium.Version, all[0])
		})
	}
}

// older: a lab on an earlier Kubernetes has what belongs to that release, and is verified green.
func (b *lab) older(t *testing.T, release components.Component, cilium string, metallb pair) {
	b.run(t, 0, "up", b.file)
	b.runs(t, metallb, metallb.is)
	b.runs(t, pair{workloads: []string{"-n=kube-system daemonset/cilium", "-n=kube-system deployment/cilium-operator"}}, cilium)
	b.runs(t, pair{workloads: []string{"-n=kube-system daemonset/kube-proxy", "-n=kube-system pod/kube-apiserver-cp"}}, release.Version)
	b.runs(t, pair{workloads: []string{"-n=kube-system deployment/coredns"}}, release.Release["coredns"])
	b.runs(t, pair{workloads: []string{"-n=kube-system pod/etcd-cp"}}, strings.TrimPrefix(release.Release["etcd"], "v")+"-0")
	kubelets := strings.Fields(b.kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"))
	if len(kubelets) != 3 || slices.ContainsFunc(kubelets, func(version string) bool { return version != release.Version }) {
		t.Errorf("kubelets are %v, want %s", kubelets, release.Version)
	}
	b.remove(t)
	b.clean(t)
}

// updated takes a running lab from one version to the other.
func (b *lab) updated(t *testing.T, p pair) {
	b.runs(t, p, p.was)
	boots, vips, pods := b.boots(t, "cp", "w1", "w2"), b.vips(t), b.usersPods(t)
	b.text = p.at(t, b.text, p.is)
	b.write(t, b.text)
	want := fmt.Sprintf("update in place: %s.version changes from %s to %s", p.kind, p.was, p.is)
	if out := b.run(t, 0, "plan", b.file); !strings.Contains(out, "  "+want+"\n") || strings.Contains(out, "--remake") {
		t.Errorf("plan says %q", out[max(0, len(out)-300):])
	}
	if _, progress := b.output(t, 0, "up", b.file); !strings.Contains(progress, want+"\n") { // every path as expected
		t.Errorf("up says\n%s", progress)
	}
	b.runs(t, p, p.is)
	if is := b.boots(t, "cp", "w1", "w2"); !maps.Equal(boots, is) {
		t.Errorf("Nodes were started again: %v, then %v", boots, is)
	}
	if is := b.vips(t); is != vips || is == "" {
		t.Errorf("VIPs were\n%s, are\n%s", vips, is)
	}
	if is := b.usersPods(t); is != pods || is == "" {
		t.Errorf("the user's Pods were %q, are %q", pods, is)
	}
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}
	b.run(t, 0, "status", b.name)
}

// runs checks that a component's workloads are of a version, on every Node.
func (b *lab) runs(t *testing.T, p pair, version string) {
	t.Helper()
	for _, w := range p.workloads {
		// A Pod has its containers in its spec, all else in a template.
		args := append([]string{"get", "-o", "jsonpath={.spec.template.spec.containers[0].image}{.spec.containers[0].image}"}, strings.Fields(w)...)
		if image := b.kubectl(t, args...); !strings.HasSuffix(image, ":"+version) {
			t.Errorf("%s is of %s, want %s", w, image, version)
		}
	}
}

// vips are the addresses of all Services that have one from the load balancer, netlab's own left out:
// each verification makes them anew.
func (b *lab) vips(t *testing.T) string {
	t.Helper()
	return b.kubectl(t, "get", "services", "-n=ingress-nginx", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.loadBalancer.ingress[*].ip}{"\n"}{end}`)
}

// usersPods are the names and restarts of the Pods in namespace default.
func (b *lab) usersPods(t *testing.T) string {
	t.Helper()
	b.kubectl(t, "wait", "--for=condition=Available", "deployment/theirs", "--timeout=60s")
	return b.kubectl(t, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[0].restartCount}{end}`)
}

// pauseImage is an image that every Node has.
func (b *lab) pauseImage(t *testing.T) string {
	t.Helper()
	images := strings.Fields(b.exec(t, "w1", "ctr -n k8s.io images ls -q"))
	at := slices.IndexFunc(images, func(ref string) bool { return strings.HasPrefix(ref, "registry.k8s.io/pause:") })
	if at < 0 {
		t.Fatalf("no pause among %v", images)
	}
	return images[at]
}

// locked: a lock of the running lab changes nothing, another version in the file is refused before
// anything is touched, and the report carries the digests of the lock.
func (b *lab) locked(t *testing.T) {
	defer os.Remove(b.file + ".lock")
	b.run(t, 0, "lock", b.file)
	first, err := os.ReadFile(b.file + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if out := b.run(t, 0, "lock", b.file); !strings.HasSuffix(out, "entries, as before\n") {
		t.Errorf("a second lock says %q", out)
	}
	if again, err := os.ReadFile(b.file + ".lock"); err != nil || string(again) != string(first) {
		t.Errorf("a second lock has other bytes (%v)", err)
	}
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("up with a lock says %q", out)
	}
	r := b.verify(t, 0)
	if len(r.Software) < 10 {
		t.Errorf("the report lists %d digests", len(r.Software))
	}
	for _, s := range r.Software {
		if !strings.Contains(string(first), `"digest": "`+s.Digest+`"`) {
			t.Errorf("%+v is not in the lock", s)
		}
	}
	file := b.file
	defer b.write(t, b.text)
	b.write(t, replaced(t, b.text, "loadBalancer: {name: metallb, version: ", "loadBalancer: {name: metallb, mode: l2, pools: [172.30.0.200-172.30.0.219]} #"))
	if out, stderr := b.output(t, 0, "plan", file); !strings.Contains(out, "change nothing") { // the lock's version
		t.Errorf("plan without a version says %q%s", out[max(0, len(out)-300):], stderr)
	}
	b.write(t, b.text)
	other := strings.Replace(string(first), `"flannel": "v`, `"flannel": "v9`, 1)
	if err := os.WriteFile(file+".lock", []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr := b.output(t, 2, "up", file); !strings.Contains(stderr, "differs from the lock:\n  flannel v") {
		t.Errorf("up says %q", stderr)
	}
	digest := strings.Replace(string(first), `"digest": "sha256:`, `"digest": "sha256:0000`, 1)
	if err := os.WriteFile(file+".lock", []byte(digest), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"up", "plan"} {
		if _, stderr := b.output(t, 2, verb, file); !strings.Contains(stderr, ", locked is sha256:0000") {
			t.Errorf("%s says %q", verb, stderr)
		}
	}
}
