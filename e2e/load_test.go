package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

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
	for form, write := range map[string]func(*testing.T, v1.Image, string, string){"oci": writeOCI, "docker": writeDocker, "gzip": writeZipped} {
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

// writeZipped writes what `docker save IMAGE IMAGE2 | gzip` does: several tags, compressed.
func writeZipped(t *testing.T, image v1.Image, ref, file string) {
	images := map[name.Tag]v1.Image{}
	for _, r := range []string{ref, "example.test/other:1"} {
		tag, err := name.NewTag(r)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = image
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := gzip.NewWriter(f)
	if err := tarball.MultiWrite(images, w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
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
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
