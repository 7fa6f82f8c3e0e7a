package artifacts

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
)

// TestObtain makes the real thing in the user's cache: cold that takes half an hour.
func TestObtain(t *testing.T) {
	if os.Getenv("NETLAB_COMPONENT_TEST") == "" {
		t.Skip("builds every component: NETLAB_COMPONENT_TEST=1 runs it")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: mmdebstrap and containerd")
	}
	needs(t, "go", "mmdebstrap", "unshare")
	cache := cacheDir(t)
	self := filepath.Join(t.TempDir(), "netlab")
	if err := os.WriteFile(self, []byte("#!/bin/sh\necho "+t.Name()+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := Cache{Dir: cache, Self: self, Sources: []Source{Build}}
	set := quickstart(t)
	p := set.Plan
	artifacts, err := r.Obtain(t.Context(), set, func(name string) func(error) {
		start := time.Now()
		return func(err error) { t.Logf("%s: %.1fs, %v", name, time.Since(start).Seconds(), err) }
	})
	if err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	again, err := r.Obtain(t.Context(), set, func(name string) func(error) {
		t.Errorf("the second time there is still to do: %s", name)
		return func(error) {}
	})
	if err != nil || again.Store != artifacts.Store {
		t.Errorf("the second time: %v, %v", again, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("finding everything there took %s", took)
	}

	t.Run("status", func(t *testing.T) {
		all, err := r.Status(load(t))
		if err != nil {
			t.Fatal(err)
		}
		versions := set.Versions()
		here := []string{fromBuild, fromModule} // no registry was asked
		for _, s := range all {
			if v := versions[s.Name]; v != s.Version && v != components.SelfVersion {
				continue // not of this lab
			}
			elsewhere := func(from string) bool { return !slices.Contains(here, from) }
			if !s.Cached || s.Kind != components.KindBase && (len(s.From) == 0 || slices.ContainsFunc(s.From, elsewhere)) {
				t.Errorf("%s %s: cached %t, from %v", s.Name, s.Version, s.Cached, s.From)
			}
		}
	})
	t.Run("programs", func(t *testing.T) {
		for name, arg := range map[string]string{"runc": "--version", "containerd": "--version", "ctr": "--version", "kubeadm": "version", "kubectl": "--help"} {
			if out, err := exec.Command(artifacts.Programs[name], arg).CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", name, arg, err, out)
			}
		}
	})
	t.Run("kubeadm finds its images", func(t *testing.T) {
		out, err := exec.Command(artifacts.Programs["kubeadm"], "config", "images", "list", "--kubernetes-version", p.Kubernetes.Version).Output()
		if err != nil {
			t.Fatal(err)
		}
		refs := strings.Fields(string(out))
		if len(refs) < 7 {
			t.Errorf("kubeadm requires only %v", refs)
		}
		for _, ref := range refs {
			if !slices.Contains(artifacts.Images, ref) {
				t.Errorf("kubeadm requires %s, which the store lacks", ref)
			}
		}
	})
	t.Run("store", func(t *testing.T) {
		// A clone is what a Node's containerd gets.
		root := clone(t, artifacts, cache)
		out := inContainerd(t, artifacts, root, `"$2" -n k8s.io images ls -q; "$2" -n k8s.io images check -q`)
		lines := strings.Fields(out)
		for _, ref := range artifacts.Images {
			if n := strings.Count(out, ref+"\n"); n != 2 {
				t.Errorf("%s is listed and complete %d times of 2 in\n%s", ref, n, lines)
			}
		}
	})
	t.Run("image programs", func(t *testing.T) {
		root := clone(t, artifacts, cache)
		runs := map[string]string{
			"registry.k8s.io/kube-apiserver:v1.37.2":                "/usr/local/bin/kube-apiserver --version",
			"registry.k8s.io/kube-proxy:v1.37.2":                    "sh -c 'kube-proxy --version && nft --version && iptables --version && conntrack --version'",
			"registry.k8s.io/etcd:3.7.0-0":                          "/usr/local/bin/etcd --version",
			"registry.k8s.io/coredns/coredns:v1.14.6":               "/coredns -plugins",
			"ghcr.io/flannel-io/flannel:v0.28.4":                    "/opt/bin/flanneld --version",
			"ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel1": "/flannel",
			"quay.io/metallb/controller:v0.15.2":                    "/controller --help",
			"quay.io/metallb/speaker:v0.15.2":                       "/speaker --help",
			"registry.k8s.io/ingress-nginx/controller:v1.11.0":      "sh -c '/nginx-ingress-controller --version && nginx -t -c /etc/nginx/nginx.conf'",
			artifacts.Agent: "/usr/local/bin/netlab",
		}
		for i, ref := range slices.Sorted(maps.Keys(runs)) {
			// Mounted by containerd, entered by chroot: what runc would do needs cgroups.
			// The mount point names containerd's snapshot too, so each has its own.
			script := fmt.Sprintf(`m=/run/image-%d; mkdir $m; "$2" -n k8s.io images mount %s $m >/dev/null
[ ! -d $m/dev ] || mount --bind /dev $m/dev
[ ! -d $m/tmp ] || { mount -t tmpfs tmpfs $m/tmp; mkdir $m/tmp/nginx; }
chroot $m %s 2>&1 || [ $? = 2 ] # of a flag package that counts --help as a mistake
umount -R $m`, i, ref, runs[ref])
			t.Logf("%s:\n%.400s", ref, inContainerd(t, artifacts, root, script))
		}
	})
}

// The node image by itself, as kind starts it: the supervisor brings containerd up,
// says so, starts kubelet when it is configured, and exits on a signal.
const asContainer = `set -e
root=$1; shift
mount -t tmpfs tmpfs "$root"; mkdir "$root/upper" "$root/work" "$root/node" "$root/store"
mount -t overlay -o "lowerdir=$1,upperdir=$root/upper,workdir=$root/work" overlay "$root/node"
cd "$root/node"
mount -t proc proc proc; mount -t sysfs -o ro sysfs sys; mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev; for d in null zero random urandom; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mkdir -p var/lib/containerd; mount --bind "$root/store" var/lib/containerd
pivot_root . mnt
exec /usr/local/bin/entrypoint /sbin/init`

func TestNodeImageAsContainer(t *testing.T) {
	if os.Getenv("NETLAB_COMPONENT_TEST") == "" {
		t.Skip("builds the node image: NETLAB_COMPONENT_TEST=1 runs it")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	artifacts := obtainBare(t)
	argv := append([]string{"unshare", "--net", "--uts", "--ipc"}, apart("sh", "-c", asContainer, "sh", t.TempDir(), strings.Join(artifacts.Rootfs, ":"))...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.Contains(line, "Multi-User System") {
		t.Errorf("it says %q, %v\n%s", line, err, failed.String())
	}
	inside := func(script string) string {
		t.Helper()
		// The first process of the container is the only child of unshare.
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		pid := strings.TrimSpace(string(children))
		out, err := exec.Command("nsenter", "--target", pid, "--all", "sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	if version := inside("cat /kind/version"); version != load(t).Known().Kubernetes[0].Version+"\n" {
		t.Errorf("/kind/version says %q", version)
	}
	inside("ctr version && test -f /kind/manifests/default-storage.yaml && test -e /dev/kmsg")
	// A kubelet that is configured is started; this configuration it refuses.
	inside("echo 'kind: Nonsense' >/var/lib/kubelet/config.yaml; for i in $(seq 100); do grep -q Nonsense /var/log/kubelet.log && exit 0; sleep 0.1; done; cat /var/log/kubelet.log; exit 1")
	inside("setsid sh -c 'sleep 0.2; kill -TERM 1' >/dev/null 2>&1 &") // it takes all with it
	if err := cmd.Wait(); ctx.Err() != nil {
		t.Errorf("it does not end: %v", err)
	}
}

// obtainBare obtains what a lab without CNI, load balancer and ingress requires.
func obtainBare(t *testing.T) components.Artifacts {
	t.Helper()
	set := quickstart(t, func(p *topology.Plan) { p.CNI.Name, p.LoadBalancer.Name, p.Ingress.Name = "none", "none", "none" })
	self := filepath.Join(t.TempDir(), "netlab")
	if err := os.WriteFile(self, []byte("#!/bin/sh\necho "+t.Name()+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	artifacts, err := Cache{Dir: cacheDir(t), Self: self, Sources: []Source{Build}}.Obtain(t.Context(), set, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return artifacts
}

// cacheDir is the user's.
func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("NETLAB_CACHE_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "netlab")
}

// clone returns a copy of the store on the same file system.
func clone(t *testing.T, artifacts components.Artifacts, cache string) string {
	t.Helper()
	dir, err := os.MkdirTemp(cache, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	root := filepath.Join(dir, "root")
	if err := Clone(t.Context(), artifacts.Store, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// inContainerd runs a script next to a containerd with a root: $2 is its ctr.
func inContainerd(t *testing.T, artifacts components.Artifacts, root, script string) string {
	t.Helper()
	const around = `containerd=$1; root=$3
mount -t tmpfs tmpfs /run; mkdir /run/containerd
printf 'version = 4\nroot = "%s"\nstate = "/run/containerd"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' "$root" >/run/containerd/config.toml
"$containerd" --config /run/containerd/config.toml >/run/containerd/log 2>&1 &
n=0; until "$2" version >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 100 ] || { cat /run/containerd/log; exit 1; }; sleep 0.1; done
set -e
`
	argv := apart("sh", "-c", around+script, "sh", artifacts.Programs["containerd"], artifacts.Programs["ctr"], root)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s%s", script, err, out, failed.String())
	}
	return string(out)
}

// What several sets require is made once, the longest build first, and separately for each
// version.
func TestWorksOfSeveralSets(t *testing.T) {
	const head = "kind: base\nabout: a\nsource: b\n"
	c, err := components.Read(fstest.MapFS{
		"k8s/component.yaml":       {Data: []byte("kind: kubernetes\nabout: a\nsource: b\n")},
		"k8s/v1.2.0/version.yaml":  {Data: []byte("release: {etcd: v2.0.0}\n")},
		"k8s/v1.1.0/version.yaml":  {Data: []byte("release: {etcd: v1.0.0}\n")},
		"etcd/component.yaml":      {Data: []byte(head + "builds: [{name: etcd, module: m, packages: {etcd: m}, seconds: 9}]\nprograms: [etcd]\n")},
		"etcd/v1.0.0/version.yaml": {Data: []byte("{}\n")},
		"etcd/v2.0.0/version.yaml": {Data: []byte("{}\n")},
		"runc/component.yaml":      {Data: []byte(head + "version: v1\nbuilds: [{name: runc, module: n, packages: {runc: n}, seconds: 10}, {name: unused, module: n, packages: {unused: n}}]\nprograms: [runc]\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var jobs []job
	for _, version := range []string{"v1.2.0", "v1.1.0", "v1.2.0"} {
		p := topology.Plan{}
		p.Kubernetes.Version = version
		set, err := c.Resolve(p)
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job{obtaining: obtaining{Cache: Cache{Dir: t.TempDir()}, set: set}, parts: set.Components})
	}
	all, err := worksOf(jobs)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range all {
		got = append(got, w.item.name)
	}
	if want := []string{"runc", "etcd", "etcd"}; !slices.Equal(got, want) {
		t.Errorf("works are %v, want %v", got, want)
	}
}

// What images are made of is not made where the images are cached, as after the import of a
// bundle; a layer over another one is part of the other's work.
func TestWorksThatRemain(t *testing.T) {
	const text = `kind: base
version: v1
about: a
source: b
builds:
  - {name: one, module: m, packages: {one: m}, seconds: 3}
  - {name: two, module: m, packages: {two: m}, seconds: 2}
  - {name: three, module: m, packages: {three: m}, seconds: 5}
layers:
  - {name: base, seconds: 9, debian: {suite: s, packages: [p]}}
  - {name: more, seconds: 1, debian: {suite: s, over: k/base, packages: [q]}, files: [{to: /three, build: k/three}]}
images:
  - {name: example.org/one, node: true, from: [k/base], files: [{to: /one, build: k/one}]}
  - {name: example.org/two, node: true, from: [k/base, k/more], files: [{to: /two, build: k/two}]}
`
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	set := everything(c)
	j := job{obtaining: obtaining{Cache: Cache{Dir: t.TempDir()}, set: set, step: quiet}, parts: set.Components}
	k := named(t, set, "k")
	one, err := j.imageItem(j.picture(k, k.Images[0]))
	if err != nil {
		t.Fatal(err)
	}
	base, err := j.layerItem("k/base")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		cached item
		want   []string
	}{
		{item{}, []string{"k-base", "three", "one", "two"}},
		{one, []string{"k-base", "three", "two"}},
		{base, []string{"three", "two", "k-more"}},
	} {
		if step.cached != (item{}) {
			if _, err := j.keep(t.Context(), step.cached, func(string, *record) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		all, err := worksOf([]job{j})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range all {
			got = append(got, w.item.name)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("with %v cached works are %v, want %v", step.cached, got, step.want)
		}
	}
}
