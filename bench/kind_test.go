package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	speclabs "netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/kind/dockertest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

// BenchmarkAgainstKind times the same cluster made three ways on one machine and from one
// node image: by `kind create cluster` and kubectl, by netlab with provider kind, and by
// netlab with provider netns. It is one control plane and two workers with Flannel, ready
// when all Nodes and CoreDNS are; "whole" is the same with MetalLB and ingress-nginx rolled
// out too. Builds, loading the node image into Docker, and removal are not timed. It asserts
// no time.
//
// kind gets what netlab gives its Nodes: the image store with every image in it, nftables,
// the same charts with the same values; it does not run kindnet, which is not available here.
func BenchmarkAgainstKind(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs require root")
	}
	keepSysctls(b)
	dockertest.Start(b)
	r := newRace(b)
	for _, size := range []string{"bare", "whole"} {
		for _, way := range []string{"kind", "netlab-kind", "netlab-netns"} {
			b.Run(size+"/"+way, func(b *testing.B) {
				r.b = b
				for range b.N {
					b.StopTimer()
					if way == "kind" {
						r.kind(b, size)
					} else {
						r.netlab(b, size, strings.TrimPrefix(way, "netlab-"))
					}
				}
			})
		}
	}
}

// race is what the ways have in common.
type race struct {
	*benchLab
	dir       string
	kinds     string // the kind command
	artifacts components.Artifacts
	parts     map[string][]components.Rendered // by size
}

const raceName = "nlt-race"

func newRace(b *testing.B) *race {
	r := &race{benchLab: newBenchLab(b, "quickstart"), dir: b.TempDir(), parts: map[string][]components.Rendered{}}
	r.kinds = filepath.Join(r.dir, "kind")
	build := exec.Command("go", "build", "-o", r.kinds, "sigs.k8s.io/kind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		b.Fatal(err)
	}
	software := providertest.SoftwareOf(b, r.program)
	for _, size := range []string{"bare", "whole"} {
		for _, provider := range []string{"kind", "netns"} {
			if err := os.WriteFile(r.labFile(size, provider), []byte(r.text(size, provider)), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		known := software.Known()
		known.Providers = []string{"kind", "netns"}
		lab, err := speclabs.Load("race.yaml", []byte(r.text(size, "kind")), known)
		if err != nil {
			b.Fatal(err)
		}
		plan, err := topology.Build(lab)
		if err != nil {
			b.Fatal(err)
		}
		set, obtained := software.Obtain(b, plan, func(string) func(error) { return func(error) {} })
		r.artifacts = obtained
		if r.parts[size], err = set.Render(obtained); err != nil {
			b.Fatal(err)
		}
	}
	archive := filepath.Join(r.dir, "node.tar")
	f, err := os.Create(archive)
	if err != nil {
		b.Fatal(err)
	}
	if err := artifacts.WriteNodeImage(r.artifacts.Node, f); err != nil {
		b.Fatal(err)
	}
	f.Close()
	r.must(exec.Command("docker", "load", "--input", archive))
	return r
}

func (r *race) labFile(size, provider string) string {
	return filepath.Join(r.dir, size+"-"+provider+".yaml")
}

func (r *race) text(size, provider string) string {
	text := "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: " + raceName + "}\nprovider: " + provider + "\n"
	if size == "bare" {
		text += "loadBalancer: {name: none}\ningress: {name: none}\n"
	}
	return text
}

// netlab times netlab.
func (r *race) netlab(b *testing.B, size, provider string) {
	defer r.run("down", raceName)
	b.StartTimer()
	r.run("up", "--no-verify", r.labFile(size, provider))
	for _, wait := range waits() {
		r.output(append([]string{"kubectl", raceName, "--"}, wait...)...)
	}
	b.StopTimer()
}

// waits are kubectl's arguments that end when the cluster is ready.
func waits() [][]string {
	return [][]string{
		{"wait", "--for=condition=Ready", "nodes", "--all", "--timeout=600s"},
		{"rollout", "status", "--namespace=kube-system", "deployment/coredns", "--timeout=600s"},
	}
}

// kind times kind and kubectl.
func (r *race) kind(b *testing.B, size string) {
	dir := b.TempDir()
	var nodes []string
	for i, role := range []string{"control-plane", "worker", "worker"} {
		store := filepath.Join(dir, fmt.Sprint(i))
		if err := artifacts.Clone(b.Context(), r.artifacts.Store, store); err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, fmt.Sprintf("{role: %s, image: %q, extraMounts: [{hostPath: %s, containerPath: /var/lib/containerd}, {hostPath: %s, containerPath: /etc/containerd/conf.d}, {hostPath: %s, containerPath: /etc/nodes-resolv.conf}]}",
			role, r.artifacts.Node.Ref, store, filepath.Join(dir, "conf.d"), filepath.Join(dir, "resolv.conf")))
	}
	config := filepath.Join(dir, "kind.yaml")
	text := "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking: {disableDefaultCNI: true, kubeProxyMode: nftables}\nnodes: [" + strings.Join(nodes, ", ") + "]\n" +
		"kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  apiVersion: kubelet.config.k8s.io/v1beta1\n  failCgroupV1: false\n  oomScoreAdj: 0\n  resolvConf: /etc/nodes-resolv.conf\n" +
		"- |\n  kind: KubeProxyConfiguration\n  apiVersion: kubeproxy.config.k8s.io/v1alpha1\n  oomScoreAdj: 0\n"
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o755); err != nil {
		b.Fatal(err)
	}
	for file, text := range map[string]string{
		config: text,
		// Docker's own resolver is 127.0.0.11, which CoreDNS would take for itself: kindest/node
		// writes another in its place. Nothing answers here, as in netlab's Nodes without an
		// internet host; nameControlPlane does what is missed.
		filepath.Join(dir, "resolv.conf"):         "nameserver 192.0.2.1\n",
		filepath.Join(dir, "conf.d", "less.toml"): "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	defer r.must(exec.Command(r.kinds, "delete", "cluster", "--name", raceName, "--kubeconfig", kubeconfig))
	b.StartTimer()
	go r.nameControlPlane(b.Context())
	r.must(exec.Command(r.kinds, "create", "cluster", "--name", raceName, "--config", config, "--kubeconfig", kubeconfig))
	for _, part := range r.parts[size] {
		r.apply(part.CRDs)
		r.apply(append(part.Once, part.Objects...))
	}
	for _, part := range r.parts[size] {
		for _, w := range part.Ready {
			r.kubectl(nil, "rollout", "status", "--namespace="+w.Namespace, strings.ToLower(w.Kind)+"/"+w.Name, "--timeout=600s")
		}
		r.apply(part.Config)
	}
	for _, wait := range waits() {
		r.kubectl(nil, wait...)
	}
	b.StopTimer()
}

// nameControlPlane lets the workers resolve the control plane's name, which their kube-proxy
// asks for, as kindest/node does by way of Docker's resolver.
func (r *race) nameControlPlane(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const name = raceName + "-control-plane"
	for named := 0; named < 2 && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		named = 0
		ip, err := command.Run(exec.CommandContext(ctx, "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name))
		if err != nil || len(bytes.TrimSpace(ip)) == 0 {
			continue
		}
		for _, worker := range []string{raceName + "-worker", raceName + "-worker2"} {
			line := fmt.Sprintf("grep -q %[1]s /etc/hosts || echo %[2]s %[1]s >>/etc/hosts", name, bytes.TrimSpace(ip))
			if _, err := command.Run(exec.CommandContext(ctx, "docker", "exec", worker, "sh", "-c", line)); err == nil {
				named++
			}
		}
	}
}

// apply applies objects as users do, and again while a definition or a webhook of theirs is
// not served yet.
func (r *race) apply(objects []unstructured.Unstructured) {
	if len(objects) == 0 {
		return
	}
	var text bytes.Buffer
	for _, o := range objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			r.b.Fatal(err)
		}
		text.WriteString("---\n")
		text.Write(data)
	}
	ctx, cancel := context.WithTimeout(r.b.Context(), 3*time.Minute)
	defer cancel()
	for {
		_, err := command.Run(r.inControlPlane(ctx, text.Bytes(), "apply", "--server-side", "--force-conflicts", "--filename=-"))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			r.b.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (r *race) kubectl(stdin []byte, args ...string) {
	r.b.Helper()
	r.must(r.inControlPlane(r.b.Context(), stdin, args...))
}

func (r *race) inControlPlane(ctx context.Context, stdin []byte, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"exec", "--interactive", raceName + "-control-plane", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd
}

func (r *race) must(cmd *exec.Cmd) {
	r.b.Helper()
	if _, err := command.Run(cmd); err != nil {
		r.b.Fatal(err)
	}
}

// keepSysctls puts back what the kubelets of plain kind write machine-wide.
func keepSysctls(b *testing.B) {
	for _, file := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		file = "/proc/sys/" + file
		was, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		b.Cleanup(func() {
			if err := os.WriteFile(file, was, 0o644); err != nil {
				b.Error(err)
			}
		})
	}
}
