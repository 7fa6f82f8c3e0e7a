package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/kind/dockertest"
	"netlab.dev/netlab/providers/kind/kindesttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/verifytest"
)

func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	self := providertest.Netlab(t)
	providertest.Run(t, providertest.Suite{
		Provider: "kind",
		New:      func() providers.Provider { return Provider{} },
		Software: providertest.SoftwareOf(t, self),
		Kill: func(ctx context.Context, lab labs.Name, _, name string) error {
			there, err := docker.containers(ctx, lab)
			if err != nil {
				return err
			}
			return docker.run(ctx, nil, "kill", there[name].Name)
		},
	})
}

// TestStrangers: a kind cluster that netlab did not make is refused, not listed, and
// survives the removal of a lab of its name.
func TestStrangers(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	ctx := t.Context()
	const name = "nlt-stranger"
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, artifacts := providertest.SoftwareOf(t, providertest.Netlab(t)).Obtain(t, plan(t, name), func(string) func(error) { return func(error) {} })
	if err := docker.loadImage(ctx, artifacts.Node); err != nil {
		t.Fatal(err)
	}
	if err := docker.run(ctx, nil, "run", "--detach", "--net", "none", "--name", name+"-control-plane", "--label", clusterLabel+"="+name,
		"--label", roleLabel+"=control-plane", "--entrypoint", "sleep", artifacts.Node.Ref, "1000"); err != nil {
		t.Fatal(err)
	}
	defer docker.remove(context.WithoutCancel(ctx), name+"-control-plane")
	var hinted interface{ Hint() string }
	_, err := Provider{}.Create(ctx, providers.Request{Plan: plan(t, name), Artifacts: artifacts, Dir: dir})
	if !errors.As(err, &hinted) || !strings.Contains(err.Error(), "was not created by netlab") {
		t.Errorf("create says %v", err)
	}
	if found, err := (Provider{}).Find(); err != nil || len(found) > 0 {
		t.Errorf("find gives %v (%v)", found, err)
	}
	if err := (Provider{}).Delete(ctx, labs.MustName(name), dir); err != nil {
		t.Error(err)
	}
	if out, err := command.Run(exec.Command("docker", "ps", "--quiet")); err != nil || len(strings.Fields(string(out))) != 1 {
		t.Errorf("the other container was removed: %s (%v)", out, err)
	}
}

// TestQuickstart: the ready lab passes every path on kind as on netns, also after Docker
// started Nodes again, the control plane too, after Docker itself was started again, and
// after the lab was stopped; kind's own command knows it, and kubectl by the context that kind would have made.
func TestQuickstart(t *testing.T) {
	providertest.NeedLabs(t)
	daemon := dockertest.Start(t)
	self, name := providertest.Netlab(t), "nlt-kind"
	passes := scenario(t, self, "quickstart", name, 70)
	t.Run("Ctrl-C", func(t *testing.T) { interrupted(t, self, name) })
	passes()
	if _, err := command.Run(exec.Command("docker", "restart", "--time=1", name+"-worker", name+"-control-plane")); err != nil {
		t.Fatal(err)
	}
	passes()
	daemon.Restart(t)
	passes()
	for _, verb := range []string{"stop", "start"} {
		if _, err := command.Run(exec.Command(self, verb, name)); err != nil {
			t.Fatal(err)
		}
	}
	evidence(t, self, name)

	kind := filepath.Join(t.TempDir(), "kind")
	build := exec.Command("go", "build", "-o", kind, "sigs.k8s.io/kind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := command.Run(build); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) []string {
		out, err := command.Run(exec.Command(kind, args...))
		if err != nil {
			t.Error(err)
		}
		lines := strings.Fields(string(out))
		slices.Sort(lines)
		return lines
	}
	if got := ask("get", "clusters"); !slices.Equal(got, []string{name}) {
		t.Errorf("kind get clusters: %v", got)
	}
	if got, want := ask("get", "nodes", "--name", name), []string{name + "-control-plane", name + "-worker", name + "-worker2"}; !slices.Equal(got, want) {
		t.Errorf("kind get nodes: %v, want %v", got, want)
	}
	ask("load", "image-archive", providertest.Archive(t, "nlt.test/loaded:1"), "--name", name)
	for _, node := range []string{"cp", "w1", "w2"} {
		out, err := command.Run(exec.Command(self, "exec", name, node, "--", "ctr", "--namespace=k8s.io", "images", "list", "--quiet"))
		if err != nil || !strings.Contains(string(out), "nlt.test/loaded:1\n") {
			t.Errorf("kind load gave Node %s no image: %s (%v)", node, out, err)
		}
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "config"))
	if out, err := command.Run(exec.Command(self, "kubeconfig", name, "--merge")); err != nil || string(out) != "kind-"+name+"\n" {
		t.Errorf("merged as %q (%v)", out, err)
	}
	if _, err := command.Run(exec.Command(self, "kubectl", name, "--", "--kubeconfig", os.Getenv("KUBECONFIG"), "--context", "kind-"+name, "get", "nodes")); err != nil {
		t.Error(err)
	}
}

// evidence: packets are followed hop by hop, and measured, as on netns.
func evidence(t *testing.T, self, lab string) {
	t.Helper()
	out, err := command.Run(exec.Command(self, "verify", lab, "-o", "json", "--evidence", "--throughput="+checks.RoutePodCrossNode, "--latency="+checks.RouteClusterIP))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	verifytest.Evidence(t, r, verifytest.Way{Encapsulated: true, Inside: "kube-proxy", Outside: "kube-proxy"})
	verifytest.Measured(t, r, checks.RoutePodCrossNode, checks.RouteClusterIP)
}

// interrupted: Ctrl-C ends an `up` at once while kind makes containers, and `down` finds all
// that came of it.
func interrupted(t *testing.T, self, name string) {
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	for what, at := range map[string]func() bool{
		"kind is begun":         func() bool { return len(processes(HelperVerb)) > 0 },
		"a container is made":   func() bool { return len(all(t)) > 0 },
		"docker runs for kind":  func() bool { return len(processes("run", "--name")) > 0 },
		"all containers are up": func() bool { return len(all(t)) == 3 },
	} {
		t.Run(what, func(t *testing.T) {
			var said bytes.Buffer
			up := exec.Command(self, "up", os.Getenv("NLT_LAB_FILE"))
			up.Stderr = &said
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); !at(); time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					up.Process.Kill()
					t.Fatalf("waited in vain; up says\n%s", said.String())
				}
			}
			began := time.Now()
			up.Process.Signal(os.Interrupt)
			up.Wait()
			if took := time.Since(began); took > atOnce {
				t.Errorf("up ended %s after Ctrl-C, want at most %s", took, atOnce)
			}
			if code := up.ProcessState.ExitCode(); code != 2 || !strings.Contains(said.String(), "error: stopped\n") {
				t.Errorf("exit code %d; up says\n%s", code, said.String())
			}
			if _, err := command.Run(exec.Command(self, "down", name)); err != nil {
				t.Fatal(err)
			}
			stayEmpty(t)
			providertest.NothingLeft(t, before, name)
		})
	}
}

// atOnce bounds what follows Ctrl-C: some milliseconds on a machine with nothing else to do.
const atOnce = 5 * time.Second

// stayEmpty: Docker has no container, and none appears for two seconds, which one would that
// dockerd was making when the client that had asked for it ended.
func stayEmpty(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if left := all(t); len(left) > 0 {
			t.Errorf("left in Docker: %v", left)
			return
		}
	}
}

// all are the ids of all containers of the test's Docker.
func all(t *testing.T) []string {
	t.Helper()
	out, err := command.Run(exec.Command("docker", "ps", "--all", "--quiet"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// processes lists those whose arguments begin with args, the program apart.
func processes(args ...string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		data, _ := os.ReadFile(file)
		words := strings.Split(string(data), "\x00")
		if len(words) > len(args) && slices.Equal(words[1:1+len(args)], args) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}

// TestCNIs: the ready labs of the other CNIs pass every path on kind too; one of them on
// kindest/node, from a registry.
func TestCNIs(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	self := providertest.Netlab(t)
	t.Run("calico-vxlan", func(t *testing.T) { kindest(t, self, "calico-vxlan") })
	t.Run("cilium-vxlan", func(t *testing.T) { scenario(t, self, "cilium-vxlan", "nlt-cilium-vxlan", 70)() })
}

// kindest: with Nodes of upstream's node image a ready lab passes every path, also after
// Docker started a Node again; and it stays with that image when the registry is not available.
func kindest(t *testing.T, self, from string) {
	digest, leave := kindesttest.Serve(t, providertest.SoftwareOf(t, self))
	name := "nlt-" + from
	passes := scenario(t, self, from, name, 70)
	passes()
	leave()
	if _, err := command.Run(exec.Command("docker", "restart", "--time=1", name+"-worker")); err != nil {
		t.Fatal(err)
	}
	passes()
	state, err := providers.DefaultRoot().Read(labs.MustName(name))
	if err != nil {
		t.Fatal(err)
	}
	if is := state.Artifacts.Node.Over; !strings.HasPrefix(is, "docker.io/kindest/node:v") || !strings.HasSuffix(is, "@"+digest) {
		t.Errorf("the Nodes are of %q, not of %s", is, digest)
	}
	out, err := command.Run(exec.Command(self, "exec", name, "w1", "--", "cat", "/etc/os-release", "/etc/crictl.yaml", "/proc/1/cmdline"))
	for _, want := range []string{"trixie", "runtime-endpoint", "/usr/local/bin/netlab\x00init"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("the Node says nothing of %q: %s (%v)", want, out, err)
		}
	}
	if out, err := command.Run(exec.Command(self, "status", name)); err != nil || !strings.Contains(string(out), "node image: docker.io/kindest/node:") {
		t.Errorf("status says %s (%v)", out, err)
	}
	// What the image has is not built: runc, which outside hosts are run by, is taken out of it.
	if path := state.Artifacts.Programs["runc"]; !strings.Contains(path, "/rootfs/") {
		t.Errorf("runc is not from the image: %q", path)
	}
	for _, program := range []string{"containerd", "kubeadm"} {
		if path := state.Artifacts.Programs[program]; path != "" {
			t.Errorf("%s was obtained: %s", program, path)
		}
	}
}

// TestDocker and TestPodman: the smallest ready lab from `up` to `down`. Where there is no
// Docker the Nodes are Podman's containers, with the same networks around them.
func TestDocker(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.Start(t)
	smallest(t, "docker", "nlt-docker")
}

func TestPodman(t *testing.T) {
	providertest.NeedLabs(t)
	dockertest.StartPodman(t)
	smallest(t, "podman", "nlt-podman")
}

// smallest makes a lab without load balancer and Ingress: verified, a Node restarted by its
// engine and mended by `up`, stopped, started, verified again, and removed without a trace.
func smallest(t *testing.T, engine, name string) {
	self := providertest.Netlab(t)
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	passes := scenario(t, self, "no-lb", name, 40)
	passes()
	ids, err := command.Run(exec.Command(engine, "ps", "--quiet", "--filter", "label="+clusterLabel+"="+name))
	if err != nil || len(strings.Fields(string(ids))) != 3 {
		t.Errorf("%s runs %q (%v)", engine, ids, err)
	}
	if _, err := command.Run(exec.Command(engine, "restart", "--time=1", name+"-worker")); err != nil {
		t.Fatal(err)
	}
	passes()
	for _, verb := range []string{"stop", "start", "verify", "down"} {
		if _, err := command.Run(exec.Command(self, verb, name)); err != nil {
			t.Fatal(err)
		}
	}
	providertest.NothingLeft(t, before, name)
	for _, things := range [][]string{{"ps", "--all"}, {"volume", "ls"}} {
		if left, err := command.Run(exec.Command(engine, append(things, "--quiet")...)); err != nil || len(left) > 0 {
			t.Errorf("%s %s still lists %q (%v)", engine, things[0], left, err)
		}
	}
}

// scenario returns a function that makes a ready lab on kind, or mends it, and expects
// every path to pass, so many at least. The lab goes with the test.
func scenario(t *testing.T, self, from, name string, least int) (passes func()) {
	t.Helper()
	state := t.TempDir()
	t.Setenv("NETLAB_STATE_DIR", state)
	providertest.RemoveKilled(t, self, state, name)
	data, err := os.ReadFile("../../scenarios/" + from + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "provider: netns\n", "")
	text = strings.Replace(text, "metadata: {name: "+from+"}\n", "metadata: {name: "+name+"}\nprovider: kind\n", 1) +
		"verify: {throughput: {duration: 1s, streams: [2], repeats: 1}}\n"
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NLT_LAB_FILE", file)
	t.Cleanup(func() {
		if _, err := command.Run(exec.Command(self, "down", name)); err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		out, err := command.Run(exec.Command(self, "up", "-o", "json", file))
		if err != nil {
			t.Fatal(err)
		}
		var report struct {
			Provider string
			Summary  struct{ Pass, Fail, Broken int }
		}
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if s := report.Summary; report.Provider != "kind" || s.Pass < least || s.Fail+s.Broken > 0 {
			t.Errorf("provider %s, paths: %+v", report.Provider, s)
		}
	}
}
