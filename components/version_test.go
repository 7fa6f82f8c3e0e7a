package components

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"netlab.dev/netlab/topology"
)

// added is the catalogue's own folders with more files in them, as a change that only adds
// files makes it.
type added struct {
	fs.FS
	more fstest.MapFS
}

func (a added) Open(name string) (fs.File, error) {
	if f, err := a.more.Open(name); err == nil {
		if info, err := f.Stat(); err == nil && !info.IsDir() {
			return f, nil
		}
		f.Close()
	}
	if f, err := a.FS.Open(name); err == nil {
		return f, nil
	}
	return a.more.Open(name)
}

// ReadDir lists what is in either.
func (a added) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(a.FS, name)
	more, errMore := fs.ReadDir(a.more, name)
	if err != nil && errMore != nil {
		return nil, err
	}
	for _, e := range more {
		if !slices.ContainsFunc(entries, func(other fs.DirEntry) bool { return other.Name() == e.Name() }) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func with(t *testing.T, files map[string]string) Catalog {
	t.Helper()
	more := fstest.MapFS{}
	for name, text := range files {
		more[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := Read(added{folders, more})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A version of Kubernetes with what its kubeadm requires, of a CNI and of a load balancer, and a
// new CNI, are added by files alone, and labs resolve with either version.
func TestVersionsAreAddedAsData(t *testing.T) {
	c := with(t, map[string]string{
		"kubernetes/v1.0.36/version.yaml": "release: {coredns: v1.0.142, etcd: v3.0.68, pause: v3.10.2}\n" +
			"builds: [{name: kube, requires: {v0.$MINOR.$PATCH: [k8s.io/zeta, k8s.io/alpha]}}]\noptions: {proxy: [iptables, ipvs, none, nftables]}\n",
		"coredns/v1.0.142/version.yaml": "",
		"etcd/v3.0.68/version.yaml":     "images: [{name: registry.k8s.io/etcd, tag: 3.0.68-0}]\n",
		"flannel/v0.0.28/version.yaml":  "builds: [{name: flannel, requires: {v1.3.212: [m]}}]\noptions: {backend: [vxlan, wireguard]}\n",
		"flannel/v0.0.28/supports.yaml": "networkPolicy: true\nl7Policy: false\nl7Reason: none\n" +
			"encapsulation: {kind: wireguard, port: 51820, overhead: 80}\n",
		"metallb/v0.0.16/version.yaml": "modes: [l2, bgp]\n",
		"invented/component.yaml":      "kind: cni\nversion: v1.0.0\nabout: a\nsource: b\noptions: {colour: [red, blue]}\n",
		"invented/supports.yaml":       "networkPolicy: false\nl7Policy: false\nl7Reason: none\n",
	})
	versions := func(p topology.Plan) map[string]string {
		t.Helper()
		all := map[string]string{}
		for _, k := range resolve(t, c, p).Components {
			all[k.Name] = k.Version
		}
		return all
	}
	expect := func(p topology.Plan, want map[string]string) {
		t.Helper()
		got := versions(p)
		for name, version := range want {
			if got[name] != version {
				t.Errorf("%s is %q, want %q", name, got[name], version)
			}
		}
	}
	p := quickstart(c)
	p.CNI.Version, p.LoadBalancer.Version = "", ""
	expect(p, map[string]string{"kubernetes": "v1.37.2", "node": "v1.37.2", "etcd": "v3.7.0", "coredns": "v1.14.6", "pause": "v3.10.2", "flannel": "v0.28.4", "metallb": "v0.15.2"})
	p.Kubernetes.Version, p.Kubernetes.Proxy = "v1.0.36", "iptables"
	p.CNI.Version, p.LoadBalancer.Version, p.LoadBalancer.Mode = "v0.0.28", "v0.0.16", "bgp"
	expect(p, map[string]string{"kubernetes": "v1.0.36", "node": "v1.0.36", "etcd": "v3.0.68", "coredns": "v1.0.142", "pause": "v3.10.2", "flannel": "v0.0.28", "metallb": "v0.0.16"})
	set := resolve(t, c, p)
	if s := set.Support(Artifacts{}); s.Encapsulation.Overhead != 80 || !s.NetworkPolicy {
		t.Errorf("the version's supports.yaml is not the one that counts: %+v", s)
	}
	var images []string
	for _, s := range set.Selected() {
		images = append(images, s.Images...)
	}
	for _, ref := range []string{"registry.k8s.io/kube-proxy:v1.0.36", "registry.k8s.io/etcd:3.0.68-0", "registry.k8s.io/coredns/coredns:v1.0.142",
		"netlab.dev/node:v1.0.36", "quay.io/metallb/speaker:v0.0.16", "ghcr.io/flannel-io/flannel:v0.0.28"} {
		if !slices.Contains(images, ref) {
			t.Errorf("the set has no %s: %v", ref, images)
		}
	}
	if _, b, err := set.Output("etcd/etcd"); err != nil || b.Requires["v3.0.68"] == nil || b.Requires["v3.7.0"] != nil {
		t.Errorf("etcd's modules are %v, %v", b.Requires, err)
	}
	_, kube, err := set.Output("kubernetes/kube")
	if modules := kube.Requires["v0.0.36"]; err != nil || len(kube.Requires) != 1 || modules[0] != "k8s.io/alpha" || modules[len(modules)-1] != "k8s.io/zeta" ||
		!slices.Contains(modules, "k8s.io/kubelet") || !slices.IsSorted(modules) {
		t.Errorf("Kubernetes' modules are %v, %v", kube.Requires, err)
	}
	node, _ := set.Find("node")
	for _, f := range node.Images[0].Files {
		if f.To == "/kind/version" && f.Text != "v1.0.36\n" {
			t.Errorf("the node image says that it has %q", f.Text)
		}
	}
	p.CNI = quickstart(c).CNI
	p.CNI.Name, p.CNI.Options = "invented", nil
	expect(p, map[string]string{"invented": "v1.0.0"})

	known := c.Known()
	if got := known.Kubernetes.Versions(); got[0] != "v1.37.2" || !slices.Contains(got, "v1.0.36") {
		t.Errorf("a lab may have Kubernetes %v", got)
	}
	if got := known.Kubernetes.Of("v1.0.36").Modes[0]; got != "iptables" {
		t.Errorf("kube-proxy's default in v1.0.36 is %s", got)
	}
	if got := known.CNIs["flannel"]; !slices.Contains(got.Versions(), "v0.0.28") || got.Of("v0.0.28").Options["backend"][1] != "wireguard" {
		t.Errorf("a lab may have %+v", got)
	}
	if known.CNIs["invented"].Of("").Version != "v1.0.0" || known.LoadBalancers["metallb"].Of("v0.0.16").Modes[1] != "bgp" {
		t.Errorf("a lab may have %+v", known)
	}
}

// A release of Kubernetes requires the staging modules of its go.mod at the version that goes with it.
func TestStagingModules(t *testing.T) {
	for version, want := range map[string]struct {
		at    string
		count int
	}{"v1.37.2": {"v0.37.2", 31}, "v1.36.3": {"v0.36.3", 31}, "v1.35.4": {"v0.35.4", 29}, "v1.34.4": {"v0.34.4", 29}} {
		k, _ := load(t).find("kubernetes", version)
		modules := k.Builds[0].Requires[want.at]
		if len(modules) != want.count || len(k.Builds[0].Requires) != 1 || !slices.IsSorted(modules) {
			t.Errorf("%s requires %v", version, k.Builds[0].Requires)
		}
		if has := slices.Contains(modules, "k8s.io/cri-streaming"); has != (want.count == 31) {
			t.Errorf("%s requires k8s.io/cri-streaming: %t", version, has)
		}
	}
}

// Without a mark the newest version is the default, by number and not by letter.
func TestNewestVersionIsTheDefault(t *testing.T) {
	const head = "kind: cni\nabout: a\nsource: b\n"
	files := fstest.MapFS{"k/component.yaml": {Data: []byte(head)}}
	for _, v := range []string{"v1.9.0", "v1.10.0", "v1.20.0", "v1.20.0-rc.1"} {
		files["k/"+v+"/version.yaml"] = &fstest.MapFile{}
	}
	order := func() []string {
		t.Helper()
		c, err := Read(files)
		if err != nil {
			t.Fatal(err)
		}
		return c.versions("k")
	}
	if got := order(); !slices.Equal(got, []string{"v1.20.0", "v1.20.0-rc.1", "v1.10.0", "v1.9.0"}) {
		t.Errorf("the order is %v", got)
	}
	files["k/v1.9.0/version.yaml"] = &fstest.MapFile{Data: []byte("default: true\n")}
	if got := order(); got[0] != "v1.9.0" {
		t.Errorf("the marked version is not the default: %v", got)
	}
}

func TestOverlay(t *testing.T) {
	shared := Component{Name: "k", Options: map[string][]string{"a": {"1"}, "b": {"2"}}, Lacks: []string{"x", "y"},
		Install: &Install{Chart: "k/chart", Namespace: "ns"},
		Builds:  []Build{{Name: "one", Module: "m", Packages: map[string]string{"p": "m/p"}}, {Name: "two", Module: "n", Requires: Requires{"v1": {"a"}}}},
		Images:  []Image{{Name: "i", Contents: Contents{Links: map[string]string{"/a": "b"}}}}}
	own := Component{Options: map[string][]string{"b": {"3"}}, Lacks: []string{"z"}, Install: &Install{Namespace: "other"},
		Builds: []Build{{Name: "two", Version: "v2", Packages: map[string]string{"q": "n/q"}, Requires: Requires{"v1": {"b"}, "v2": {"c"}}}, {Name: "three"}},
		Images: []Image{{Name: "i", Tag: "1", Contents: Contents{Links: map[string]string{"/c": "d"}}}}}
	got := overlay(shared, own)
	if got.Options["a"][0] != "1" || got.Options["b"][0] != "3" || !slices.Equal(got.Lacks, []string{"z"}) {
		t.Errorf("options %v, lacks %v", got.Options, got.Lacks)
	}
	if got.Install.Chart != "k/chart" || got.Install.Namespace != "other" {
		t.Errorf("install %+v", got.Install)
	}
	if b := got.Builds; len(b) != 3 || b[1].Module != "n" || b[1].Version != "v2" || b[1].Packages["q"] != "n/q" || b[2].Name != "three" ||
		!reflect.DeepEqual(b[1].Requires, Requires{"v1": {"a", "b"}, "v2": {"c"}}) {
		t.Errorf("builds %+v", b)
	}
	if i := got.Images; len(i) != 1 || i[0].Tag != "1" || len(i[0].Links) != 2 {
		t.Errorf("images %+v", i)
	}
	if shared.Install.Namespace != "ns" || shared.Builds[1].Version != "" || len(shared.Builds[1].Requires["v1"]) != 1 || len(shared.Images[0].Links) != 1 || shared.Options["b"][0] != "2" {
		t.Errorf("the shared part has changed: %+v", shared)
	}
}

// A file in a version's folder replaces the component's file of the same name.
func TestFilesOfAVersion(t *testing.T) {
	c, err := Read(fstest.MapFS{
		"k/component.yaml":      {Data: []byte("kind: cni\nabout: a\nsource: b\n")},
		"k/values.yaml":         {Data: []byte("shared")},
		"k/_src/a.go":           {Data: []byte("a")},
		"k/v1.0.0/version.yaml": {},
		"k/v2.0.0/version.yaml": {},
		"k/v2.0.0/values.yaml":  {Data: []byte("own")},
		"k/v2.0.0/_src/b.go":    {Data: []byte("b")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string][2]string{"v1.0.0": {"shared", "_src/a.go"}, "v2.0.0": {"own", "_src/b.go"}} {
		k, _ := c.find("k", version)
		text, err := fs.ReadFile(k.Files(), "values.yaml")
		if err != nil || string(text) != want[0] {
			t.Errorf("%s: values.yaml is %q, %v", version, text, err)
		}
		sources, err := fs.Glob(k.Files(), "_src/*")
		if err != nil || !slices.Equal(sources, []string{want[1]}) {
			t.Errorf("%s: sources are %v, %v", version, sources, err)
		}
	}
}

func TestVersionsRefused(t *testing.T) {
	const head = "kind: kubernetes\nabout: a\nsource: b\n"
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"unknown key":      {map[string]string{"k/v1.0.0/version.yaml": "verion: v2\n"}, `k/v1.0.0/version.yaml: `},
		"version twice":    {map[string]string{"k/v1.0.0/version.yaml": "version: v2\n"}, "version is the name of the folder v1.0.0"},
		"no such release":  {map[string]string{"k/v1.0.0/version.yaml": "release: {etcd: v9}\n"}, "release: etcd v9 is not a base component"},
		"two Kubernetes":   {map[string]string{"k/v1.0.0/version.yaml": "", "l/component.yaml": head + "version: v1\n"}, "kind kubernetes is that of k and l too"},
		"no version of it": {nil, "version is empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"k/component.yaml": {Data: []byte(head)}}
			for file, text := range test.files {
				files[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if _, err := Read(files); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// A component that was not read from a folder has no files.
func TestFilesOfNoFolder(t *testing.T) {
	if _, err := fs.ReadFile(Component{}.Files(), componentFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a file: %v", err)
	}
}
