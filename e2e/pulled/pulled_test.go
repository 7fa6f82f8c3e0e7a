// Package pulled makes labs of which everything is pulled, on a machine without a compiler. It
// builds an equivalent of kindest/node first, which takes minutes: `make test-all` runs it.
package pulled

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/kind/dockertest"
	"netlab.dev/netlab/providers/kind/kindesttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

// compilers are the programs that builds run.
var compilers = []string{"go", "compile", "link", "gcc", "cc", "cc1", "ld", "mmdebstrap", "apt-get"}

// TestPulled: without Go, gcc and mmdebstrap in PATH, with registries and a module proxy alone, a
// lab on namespaces and one on kind are made and every path is verified. The cache is empty before the
// first one; what a later one finds there was pulled too.
func TestPulled(t *testing.T) {
	providertest.NeedLabs(t)
	netlab := providertest.Netlab(t)
	software := providertest.SoftwareOf(t, netlab)
	software.Sources = []artifacts.Source{artifacts.Build}
	quickstart, err := os.ReadFile("../../scenarios/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := puller{netlab: netlab}
	host := serve(t, software, quickstart)
	if p.dir, err = os.MkdirTemp(filepath.Dir(software.Dir), "netlab-pulled-"); err != nil { // containerd's root must not be on an overlay
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(p.dir) })
	p.env = []string{"NETLAB_STATE_DIR=" + filepath.Join(p.dir, "state"), "NETLAB_CACHE_DIR=" + filepath.Join(p.dir, "cache"), "NETLAB_SOURCES=registry",
		"NETLAB_REGISTRIES=" + mirrors(t, host), "GOPROXY=" + proxy(t), "GOSUMDB=off", "PATH=" + withoutCompilers(t)}
	t.Run("netns", func(t *testing.T) { p.lab(t, string(quickstart)) })
	t.Run("kind", func(t *testing.T) {
		dockertest.Start(t)
		p.lab(t, strings.Replace(string(quickstart), "provider: netns", "provider: kind", 1))
	})
}

// puller is netlab on a machine of which all software is pulled.
type puller struct {
	netlab, dir string
	env         []string
}

func (p puller) run(args ...string) *exec.Cmd {
	cmd := exec.Command(p.netlab, args...)
	cmd.Env = append(os.Environ(), p.env...)
	return cmd
}

// lab makes a lab, a scenario under another name, and verifies it.
func (p puller) lab(t *testing.T, scenario string) {
	name := "nlt-pulled-" + filepath.Base(t.Name())
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(scenario, "{name: quickstart}", "{name: "+name+"}", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	providertest.RemoveKilled(t, p.netlab, filepath.Join(p.dir, "state"), name)
	t.Cleanup(func() {
		if out, err := p.run("down", name).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	stop := watch(p.dir)
	began := time.Now()
	out, err := p.run("up", file).CombinedOutput()
	t.Logf("%5.1f s  pull, up and verify\n%s", time.Since(began).Seconds(), out)
	if ran := stop(); len(ran) > 0 {
		t.Errorf("netlab ran %v", ran)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err = p.run("status", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "node image: docker.io/kindest/node:") {
		t.Errorf("status is %v\n%s", err, out)
	}
	if builds, _ := os.ReadDir(filepath.Join(p.dir, "cache", "builds")); len(builds) != 1 || !strings.HasPrefix(builds[0].Name(), "cni-plugins-") {
		t.Errorf("the cache has the builds %v, wanted only what an image held", builds)
	}
}

// serve fills a registry on loopback with our builds of what a lab has, under upstream's names after
// its host's.
func serve(t *testing.T, software providertest.Software, file []byte) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir()))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(ref string, img v1.Image) {
		t.Helper()
		tag, err := name.NewTag(host + "/" + ref)
		if err == nil {
			err = remote.Write(tag, img)
		}
		if err != nil {
			t.Fatalf("push %s: %v", ref, err)
		}
	}
	known := software.Known()
	known.Providers = []string{"netns"}
	plan, err := topology.Load("quickstart.yaml", file, known)
	if err != nil {
		t.Fatal(err)
	}
	set, obtained := software.Obtain(t, plan, func(what string) func(error) {
		t.Log(what)
		return func(error) {}
	})
	for _, k := range set.Components {
		for _, i := range k.Images {
			if ref := k.Ref(i); k.Chosen() || k.Name == "pause" {
				push(ref, only(t, obtained.Layouts[ref]))
			}
		}
		for _, b := range k.Builds {
			if b.Held != nil {
				push(b.Held.Name+":"+b.Held.Tag, plugins(t, obtained, b))
			}
		}
	}
	push("docker.io/kindest/node:"+plan.Kubernetes.Version, kindesttest.Image(t, software))
	return host
}

func only(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// plugins is an image with the outputs of a build, which the node image has.
func plugins(t *testing.T, obtained components.Artifacts, b components.Build) v1.Image {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for output := range b.Packages {
		at := slices.IndexFunc(obtained.Rootfs, func(lower string) bool {
			_, err := os.Stat(filepath.Join(lower, b.Held.Path, output))
			return err == nil
		})
		if at < 0 {
			t.Fatalf("the node image has no %s", output)
		}
		program, err := os.ReadFile(filepath.Join(obtained.Rootfs[at], b.Held.Path, output))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Join(b.Held.Path, output)[1:], Size: int64(len(program)), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(program); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// mirrors is a registries.yaml that has the registry stand in for upstream's.
func mirrors(t *testing.T, host string) string {
	t.Helper()
	text := "registries:\n"
	for _, upstream := range []string{"docker.io", "ghcr.io", "quay.io", "registry.k8s.io"} {
		text += "  " + upstream + ": {mirrors: ['" + host + "/" + upstream + "']}\n"
	}
	file := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// proxy serves the modules that builds downloaded; that their hashes are checked is a test of
// package modules.
func proxy(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(strings.TrimSpace(string(out)), "cache", "download"))))
	t.Cleanup(server.Close)
	return server.URL
}

// withoutCompilers is a PATH with all programs of the machine but those that builds run.
func withoutCompilers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		programs, _ := os.ReadDir(from)
		for _, p := range programs {
			if !slices.Contains(compilers, p.Name()) && !strings.Contains(p.Name(), "gcc") {
				_ = os.Symlink(filepath.Join(from, p.Name()), filepath.Join(dir, p.Name())) // the first of a name counts
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tar")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// watch looks every few milliseconds for compilers among the processes that a netlab with a
// directory in its environment started, until stop is called, which returns their names.
func watch(dir string) (stop func() []string) {
	var ran []string
	ended := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
			entries, _ := os.ReadDir("/proc")
			for _, e := range entries {
				if _, err := strconv.Atoi(e.Name()); err != nil {
					continue
				}
				comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
				name := strings.TrimSpace(string(comm))
				if !slices.Contains(compilers, name) {
					continue
				}
				if env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")); bytes.Contains(env, []byte(dir)) {
					ran = append(ran, name)
				}
			}
		}
	})
	return func() []string {
		close(ended)
		looking.Wait()
		return ran
	}
}
