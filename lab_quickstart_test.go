package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
	"netlab.dev/netlab/verify"
)

// noop bounds an `up` that has nothing to do. It takes a fifth of a second on a machine
// with nothing else to do.
const noop = 5 * time.Second

// quickstart: from nothing to every path verified, the report in all its forms, and then
// nothing to do.
func (b *lab) quickstart(t *testing.T) {
	junit, html := filepath.Join(b.dir, "junit.xml"), filepath.Join(b.dir, "report.html")
	out, progress := b.output(t, 0, "up", b.file, "-o", "json", "--junit", junit, "--html", html)
	t.Logf("up:\n%s", progress)
	checkSchema(t, out)
	var r verify.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	checkPasses(t, r)
	checkIDs(t, r)
	checkJUnit(t, junit, r)
	checkPage(t, html, r)

	b.untouched(t)

	began := time.Now()
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}
	if took := time.Since(began); took > noop {
		t.Errorf("a second up takes %s", took)
	}
}

// untouched: while the lab runs, what belongs to the whole machine is as it was. Where
// others use the machine too, it may be they who changed it.
func (b *lab) untouched(t *testing.T) {
	t.Helper()
	now, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	say := t.Logf
	if providertest.Alone() {
		say = t.Errorf
	}
	for _, kind := range []string{"link", "address", "route", "routing rule", "sysctl", "nft rule", "iptables rule"} {
		for _, line := range residue.Diff(residue.Snapshot{kind: b.before[kind]}, residue.Snapshot{kind: now[kind]}) {
			say("of this machine %s", line)
		}
	}
}

// checkSchema holds the report against the names that other tools read.
func checkSchema(t *testing.T, text string) {
	t.Helper()
	var report map[string]any
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	keys := func(where string, of any, must, may string) {
		object, ok := of.(map[string]any)
		if !ok {
			t.Errorf("%s is %v", where, of)
		}
		for _, k := range strings.Fields(must) {
			if _, there := object[k]; !there {
				t.Errorf("%s has no %s", where, k)
			}
		}
		for k := range object {
			if !slices.Contains(strings.Fields(must+" "+may), k) {
				t.Errorf("%s has an unknown %s", where, k)
			}
		}
	}
	keys("the report", report, "lab provider kubernetes cni paths summary", "")
	keys("cni", report["cni"], "name version", "")
	keys("summary", report["summary"], "pass fail skip broken", "")
	paths, _ := report["paths"].([]any)
	for i, p := range paths {
		at := fmt.Sprintf("paths[%d]", i)
		keys(at, p, "id from to protocol expected outcome observed command durationMillis", "reason properties tries")
		path, _ := p.(map[string]any)
		keys(at+".from", path["from"], "name", "kind node ip")
		keys(at+".to", path["to"], "name", "kind node ip")
		keys(at+".observed", path["observed"], "", "sourceIP backend node rttMicros")
		if e, _ := path["expected"].(string); !slices.Contains([]string{"reachable", "unreachable", "enforced", "not-enforced"}, e) {
			t.Errorf("%s.expected is %q", at, e)
		}
		if o, _ := path["outcome"].(string); !slices.Contains([]string{"pass", "fail", "skip", "broken"}, o) {
			t.Errorf("%s.outcome is %q", at, o)
		}
	}
}

// checkIDs: every kind of path is there, and only what this CNI cannot do is skipped.
func checkIDs(t *testing.T, r verify.Report) {
	t.Helper()
	want := strings.Fields(`container-to-container pod-to-pod-same-node pod-to-pod-cross-node node-to-pod pod-to-node
		pod-to-clusterip pod-to-itself-via-service pod-to-headless dns-service dns-external pod-to-nodeport
		outside-to-nodeport outside-to-loadbalancer outside-to-ingress-http outside-to-ingress-https pod-to-externalname
		pod-to-outside outside-to-clusterip outside-to-pod policy-default-deny policy-allow-label policy-allow-namespace
		policy-allow-port policy-egress-deny policy-l7`)
	got := map[string]int{}
	for _, p := range r.Paths {
		got[p.ID]++
		if p.Outcome == verify.Skip && p.ID != "policy-l7" {
			t.Errorf("skipped: %s", told(p))
		}
	}
	slices.Sort(want)
	if is := slices.Sorted(maps.Keys(got)); !slices.Equal(is, want) {
		t.Errorf("paths are %v, want %v", is, want)
	}
	// Three Nodes: each reaches the two others.
	if got["pod-to-pod-cross-node"] != 6 {
		t.Errorf("%d paths between Pods of different Nodes, want 6", got["pod-to-pod-cross-node"])
	}
}

func checkJUnit(t *testing.T, file string, r verify.Report) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Suite []struct {
			Tests    int   `xml:"tests,attr"`
			Failures int   `xml:"failures,attr"`
			Cases    []any `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if n := len(r.Paths); len(suites.Suite) != 1 || suites.Suite[0].Tests != n || bytes.Count(data, []byte("<testcase ")) != n || suites.Suite[0].Failures != 0 {
		t.Errorf("JUnit has %+v, the report %d paths", suites.Suite, n)
	}
}

// checkPage: the page has each path, with the hops that its packets took.
func checkPage(t *testing.T, file string, r verify.Report) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if n := strings.Count(text, `<li class="path `); n != len(r.Paths) {
		t.Errorf("the page has %d paths, the report %d", n, len(r.Paths))
	}
	if want := fmt.Sprintf("All %d paths as expected", r.Summary.Pass); !strings.Contains(text, want) {
		t.Errorf("the page does not say %q", want)
	}
	for _, want := range []string{"in VXLAN", "SNAT ", "DNAT ", "ARP who has", "by metallb", "metadata: {name: ", "v1.37"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page says nothing of %q", want)
		}
	}
	// Policies are not captured, and policy-l7 is not asked.
	if got, want := strings.Count(text, `<ol class="hops"`), len(r.Paths)-6; got < want {
		t.Errorf("the page has hops of %d paths, want %d", got, want)
	}
}

// verbs: the small commands on a lab that runs.
func (b *lab) verbs(t *testing.T) {
	b.up(t)
	if out := b.run(t, 0, "exec", b.name, "client", "--", "ip", "-4", "-br", "addr", "show", "eth0"); !strings.Contains(out, "172.30.0.100/24") {
		t.Errorf("exec client: %q", out)
	}
	if out := b.run(t, 0, "exec", b.name, "w1", "--", "hostname"); out != "w1\n" {
		t.Errorf("exec w1: %q", out)
	}
	b.run(t, 7, "exec", b.name, "w1", "--", "sh", "-c", "exit 7")
	b.run(t, 2, "exec", b.name, "nobody", "--", "true")
	// The lab's addresses are nowhere but in the lab.
	if out, err := exec.Command("ip", "route", "get", "172.30.0.10").Output(); err == nil && strings.Contains(string(out), "netlab") {
		t.Errorf("this machine has a route into the lab: %s", out)
	}
	if out := b.kubectl(t, "get", "nodes", "-o", "name"); out != "node/cp\nnode/w1\nnode/w2\n" {
		t.Errorf("kubectl get nodes: %q", out)
	}
	b.run(t, 1, "kubectl", b.name, "--", "get", "pod", "nobody")
	b.kubeconfig(t)

	var s struct {
		Lab, Phase string
		Machines   []struct {
			Name    string
			Running bool
		}
		Problems []string
	}
	if err := json.Unmarshal([]byte(b.run(t, 0, "status", b.name, "-o", "json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Lab != b.name || s.Phase != "up" || len(s.Problems) > 0 || len(s.Machines) != 6 {
		t.Errorf("status: %+v", s)
	}
	for _, m := range s.Machines {
		if !m.Running {
			t.Errorf("status: %s does not run", m.Name)
		}
	}
	if out := b.run(t, 0, "list"); !strings.Contains(out, b.name+" ") || !strings.Contains(out, b.file) {
		t.Errorf("list: %q", out)
	}
	if out := b.run(t, 0, "logs", b.name, "w1"); !strings.Contains(out, "==> w1/kubelet.log <==") {
		t.Errorf("logs of w1 without kubelet's: %.200q", out)
	}
	b.load(t)
}

func (b *lab) kubeconfig(t *testing.T) {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(b.run(t, 0, "kubeconfig", b.name)))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(config.Host, "https://127.0.0.1:") {
		t.Errorf("kubeconfig's server is %s", config.Host)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 3 {
		t.Errorf("%d Nodes by the printed kubeconfig (%v)", len(nodes.Items), err)
	}
}

// load: an image of the user's own, in both forms of archive, runs without a registry.
func (b *lab) load(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { print(\"hello from an image of my own\") }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	image := imageOf(t, program)
	for form, write := range map[string]func(*testing.T, v1.Image, string, string){"oci": writeOCI, "docker": writeDocker} {
		t.Run("load "+form, func(t *testing.T) {
			ref, archive, pod := "example.test/hello:"+form, filepath.Join(dir, form+".tar"), "hello-"+form
			write(t, image, ref, archive)
			b.run(t, 0, "load", b.name, archive)
			b.kubectl(t, "run", pod, "--image="+ref, "--image-pull-policy=Never", "--restart=Never")
			b.kubectl(t, "wait", "pod/"+pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
			if out := b.kubectl(t, "logs", pod); out != "hello from an image of my own" {
				t.Errorf("the Pod says %q", out)
			}
			b.kubectl(t, "delete", "pod", pod, "--now")
		})
	}
	_, stderr := b.output(t, 2, "load", b.name, filepath.Join(dir, "none.tar"))
	if !strings.Contains(stderr, "none.tar") {
		t.Errorf("load of a file that is not there says %q", stderr)
	}
}

func imageOf(t *testing.T, program string) v1.Image {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Config.Entrypoint = "linux", "amd64", []string{"/hello"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func writeDocker(t *testing.T, image v1.Image, ref, file string) {
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
}

// writeOCI writes an image layout in a tar file; the full name is an annotation that
// containerd and others read.
func writeOCI(t *testing.T, image v1.Image, ref, file string) {
	dir := t.TempDir()
	into, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := into.AppendImage(image, layout.WithAnnotations(map[string]string{"io.containerd.image.name": ref})); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir).(fs.FS)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
