// Package kindesttest builds an equivalent of kindest/node where that image is not available: from
// upstream's Dockerfile in kind's Go module, with Debian's packages, netlab's builds in place of
// upstream's, and the control plane's images in its containerd as `kind build node-image` leaves
// them. It serves the image as a registry on loopback.
//
// Left out: crictl and the fuse-overlayfs snapshotter, which are not available from any reachable
// registry, kind's CNI and storage, and the base of containerd's OCI specs.
package kindesttest

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

// upstream is kind's Go module.
const upstream = "sigs.k8s.io/kind"

// Serve serves the image, which it builds unless the cache has it, until the test ends or close is
// called, and has netlab pull it. It returns the image's digest.
func Serve(t testing.TB, r providertest.Software) (digest string, close func()) {
	t.Helper()
	dir := made(t, r)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, hash := only(t, index)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(dir, "blobs")))))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/kindest/node"
	tag, err := name.NewTag(repository + ":" + r.Known().Kubernetes[0].Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETLAB_NODE_IMAGE", repository)
	t.Setenv("NETLAB_SOURCES", "registry,build")
	t.Cleanup(func() { // the server's port may be reused
		pins, _ := filepath.Glob(filepath.Join(r.Dir, "pins", "*"))
		for _, pin := range pins {
			data, _ := os.ReadFile(filepath.Join(pin, "record.json"))
			if strings.Contains(string(data), hash.String()) {
				os.RemoveAll(pin)
			}
		}
	})
	return hash.String(), server.Close
}

// Image returns the image, which it builds unless the cache has it.
func Image(t testing.TB, r providertest.Software) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(made(t, r))
	if err != nil {
		t.Fatal(err)
	}
	img, _ := only(t, index)
	return img
}

func only(t testing.TB, index v1.ImageIndex) (v1.Image, v1.Hash) {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%d images, %v", len(m.Manifests), err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img, m.Manifests[0].Digest
}

// made returns the OCI layout of the image.
func made(t testing.TB, r providertest.Software) string {
	t.Helper()
	kubernetes := r.Known().Kubernetes[0].Version
	r.Catalog = maps.Clone(r.Catalog)
	r.Catalog["node"] = []components.Component{recipe(t, kubernetes)}
	plan := topology.Plan{Lab: labs.MustName("kindest"), Provider: "netns"}
	plan.Kubernetes.Version, plan.Kubernetes.Proxy = kubernetes, "nftables"
	plan.CNI.Name = "none"
	_, obtained := r.Obtain(t, plan, func(what string) func(error) {
		t.Log(what)
		return func(error) {}
	})
	_, tag, _ := strings.Cut(obtained.Node.Ref, ":")
	dir := filepath.Join(r.Dir, "tests", "kindest", tag)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	earlier, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
	for _, d := range earlier { // labs of tests run one at a time
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "making-") // in the same directory: containerd's root must not be on an overlay
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	index, err := layout.ImageIndexFromPath(obtained.Node.Layout)
	if err != nil {
		t.Fatal(err)
	}
	img, _ := only(t, index)
	held, err := tarball.LayerFromFile(store(t, obtained, tmp), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, held); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(tmp, "layout")
	path, err := layout.Write(whole, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(path.AppendImage(img), os.Rename(whole, dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// recipe is upstream's Dockerfile and what `kind build node-image` adds, as a component.
func recipe(t testing.TB, kubernetes string) components.Component {
	t.Helper()
	out, err := command.Run(exec.Command("go", "list", "-m", "-json", upstream))
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Dir, Version string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "images", "base", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	find := func(expression string) string {
		found := regexp.MustCompile(expression).FindSubmatch(text)
		if found == nil {
			t.Fatalf("upstream's Dockerfile has nothing like %s", expression)
		}
		return string(found[1])
	}
	packages := strings.Fields(strings.ReplaceAll(find(`noninteractive clean-install \\\n([^&]*)&&`), `\`, " "))
	k := components.Component{Name: "node", Kind: components.KindBase, Version: kubernetes, About: "what kindest/node would be", Source: upstream,
		Builds: []components.Build{{Name: "kindest", Module: upstream, Version: module.Version, Copies: map[string]string{"files": "images/base/files"}}},
		Layers: []components.Layer{{Name: "base", Debian: &components.Debian{Suite: find(`BASE_IMAGE=debian:([a-z]*)-slim`), Packages: packages, Exclude: []string{
			"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*",
			// Removed by its RUN lines.
			"/usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
			"/usr/lib/systemd/system/multi-user.target.wants/*", "/usr/lib/systemd/system/local-fs.target.wants/*",
			"/usr/lib/systemd/system/sockets.target.wants/*udev*", "/usr/lib/systemd/system/basic.target.wants/*",
		}}}}}
	image := components.Image{Name: "netlab.test/kindest-node", Node: true, From: []string{"node/base"}, Env: []string{"container=docker"},
		Entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"}}
	const wants = "/etc/systemd/system/multi-user.target.wants/"
	image.Links = map[string]string{"/usr/sbin/init": "/usr/lib/systemd/systemd", "/usr/bin/kubeadm": "kubectl", "/usr/bin/kubelet": "kubectl",
		wants + "containerd.service": "/etc/systemd/system/containerd.service", wants + "kubelet.service": "/etc/systemd/system/kubelet.service",
		wants + "undo-mount-hacks.service": "/etc/systemd/system/undo-mount-hacks.service"}
	image.Dirs = []components.Dir{{Path: "/etc/kubernetes/manifests"}}
	image.Files = []components.File{
		{To: "/usr/local/bin", Copy: "node/files/usr/local/bin", Mode: 0o755},
		{To: "/kind/bin", Copy: "node/files/kind/bin", Mode: 0o755},
		{To: "/etc", Copy: "node/files/etc", Mode: 0o644},
		{To: "/kind/version", Text: kubernetes},
		{To: "/usr/bin/kubectl", Build: "kubernetes/kube"},
		{To: "/usr/local/sbin/runc", Build: "runc/runc"},
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		image.Files = append(image.Files, components.File{To: "/usr/local/bin/" + program, Build: "containerd/" + program})
	}
	for _, plugin := range regexp.MustCompile(`go build -o \./bin/([a-z-]+) -mod`).FindAllStringSubmatch(string(text), -1) {
		image.Files = append(image.Files, components.File{To: "/opt/cni/bin/" + plugin[1], Build: "cni-plugins/" + plugin[1]})
	}
	k.Images = []components.Image{image}
	return k
}

// importing fills a containerd root ($3) as kind's image importer does.
const importing = `set -e
mount -t tmpfs tmpfs /run; mkdir /run/containerd
printf 'version = 3\nroot = "%s"\nstate = "/run/containerd"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' "$3" >/run/containerd/config.toml
exec 3<&0 </dev/null
"$1" --config /run/containerd/config.toml >/run/containerd/log 2>&1 3<&- &
pid=$!
n=0; until "$2" version >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 100 ] || { cat /run/containerd/log; exit 1; }; sleep 0.1; done
"$2" --namespace=k8s.io images import --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests - <&3
kill $pid; wait $pid || true
rm -rf "$3"/*.lock "$3/tmpmounts"
cd "$3/../../.."
tar --create --file "$4" --numeric-owner var
`

// store creates a tar of the containerd root with kubeadm's images.
func store(t testing.TB, of components.Artifacts, tmp string) string {
	t.Helper()
	var refs []string
	for _, ref := range of.Images {
		if strings.HasPrefix(ref, "registry.k8s.io/") {
			refs = append(refs, ref)
		}
	}
	root := filepath.Join(tmp, "root", "var", "lib", "containerd")
	if err := os.MkdirAll(root, 0o711); err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(tmp, "store.tar")
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", importing, "sh",
		of.Programs["containerd"], of.Programs["ctr"], root, tar)
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(artifacts.WriteImages(of, w, refs, func(string) bool { return false })) }()
	cmd.Stdin = r
	if _, err := command.Run(cmd); err != nil {
		t.Fatal(fmt.Errorf("import images: %w", err))
	}
	if _, err := os.Stat(tar); errors.Is(err, fs.ErrNotExist) {
		t.Fatal("nothing was imported")
	}
	return tar
}
