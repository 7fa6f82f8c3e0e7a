package labs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
)

const minimal = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata:\n  name: x\n"

func load(t *testing.T, text string) labs.Lab {
	t.Helper()
	lab, err := labs.Load("lab.yaml", []byte(text), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

func TestLoadMinimalIsDefault(t *testing.T) {
	got, want := load(t, minimal), labs.Default(labs.MustName("x"), labstest.Known())
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaultsFollowNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		check func(labs.Lab) any
		want  any
	}{
		"one network, one host": {"networks: [{name: n, cidr: 10.0.0.0/24}]",
			func(l labs.Lab) any { return l.Hosts }, []labs.Host{{Name: "client", Role: "client", Networks: []string{"n"}}}},
		"three networks": {"networks: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.1.0/24}, {name: c, cidr: 10.0.2.0/24}]",
			func(l labs.Lab) any { return l.Hosts }, []labs.Host{
				{Name: "router", Role: "router", Networks: []string{"a", "b"}},
				{Name: "client", Role: "client", Networks: []string{"a"}},
				{Name: "internet", Role: "internet", Networks: []string{"b"}}}},
		"no hosts": {"hosts: []", func(l labs.Lab) any { return l.Hosts }, []labs.Host{}},
		"three control planes": {"nodes: [{name: cp, role: control-plane, count: 3}]\nhosts: []",
			func(l labs.Lab) any { return l.Hosts }, []labs.Host{{Name: "lb", Role: "api-lb", Networks: []string{"lan"}}}},
		"their load balancer": {"nodes: [{name: cp, role: control-plane, count: 3, networks: [wan]}]\nhosts: [{name: api, role: api-lb}]",
			func(l labs.Lab) any { return l.Hosts }, []labs.Host{{Name: "api", Role: "api-lb", Networks: []string{"wan"}}}},
		"a cloud": {"loadBalancer: {name: cloud}\nhosts: [{name: router, role: router}]",
			func(l labs.Lab) any { return l.Hosts }, []labs.Host{{Name: "router", Role: "router", Networks: []string{"lan", "wan"}}, {Name: "cloud", Role: "cloud", Networks: []string{"wan"}}}},
		"its own host":               {"loadBalancer: {name: cloud}\nhosts: [{name: aws, role: cloud, networks: [lan]}]", func(l labs.Lab) any { return len(l.Hosts) }, 1},
		"the mode of a cloud":        {"loadBalancer: {name: cloud}", func(l labs.Lab) any { return l.LoadBalancer.Mode }, labs.ModeExternal},
		"no load balancer":           {"loadBalancer: {name: none}", func(l labs.Lab) any { return l.Ingress.Service }, "NodePort"},
		"no Ingress":                 {"ingress: {name: none}", func(l labs.Lab) any { return l.Ingress }, labs.Ingress{Name: "none"}},
		"option of a number":         {"cni: {name: cilium, options: {label: 0x10}}", func(l labs.Lab) any { return l.CNI.Options["label"] }, "0x10"},
		"options next to given ones": {"cni: {name: cilium, options: {label: a}}", func(l labs.Lab) any { return l.CNI.Options["routing"] }, "tunnel"},
		"anchor and merge": {"nodes: [&n {name: a, role: control-plane, networks: [lan]}, {<<: *n, name: b, role: worker}]",
			func(l labs.Lab) any { return l.Nodes[1] }, labs.NodeGroup{Name: "b", Role: "worker", Networks: []string{"lan"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.check(load(t, minimal+c.file+"\n")); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// Not testable by a script: bytes that are not text, files that are slow to decode.
func TestLoadRefuses(t *testing.T) {
	bomb, last := minimal+"a0: &a0 {name: x}\n", "a0"
	for i := range 30 {
		next := fmt.Sprintf("b%d", i)
		bomb += fmt.Sprintf("%s: &%s {<<: [*%s, *%s]}\n", next, next, last, last)
		last = next
	}
	var keys []string
	for i := range 3000 {
		keys = append(keys, fmt.Sprintf("k%d: 1", i))
	}
	for name, c := range map[string]struct{ file, want string }{
		"no UTF-8":          {"\xff\xfe", "lab.yaml:1: is not valid UTF-8"},
		"large":             {minimal + strings.Repeat("#", 64<<10), "lab.yaml:1: exceeds 64 KiB, the size limit of a lab file"},
		"aliases multiply":  {bomb + "kubernetes: *" + last + "\n", "lab.yaml:1: follows more than 10000 aliases and merged keys"},
		"merges multiply":   {minimal + "x: &a {" + strings.Join(keys, ", ") + "}\nhosts: [{<<: [" + strings.Repeat("*a, ", 7000) + "*a]}]\n", "lab.yaml:1: follows more than 10000 aliases and merged keys"},
		"nested lists":      {minimal + "hosts: " + strings.Repeat("[", 60000), "lab.yaml:5: nests more than 100 lists and mappings"},
		"nested mappings":   {minimal + "hosts: " + strings.Repeat("{a: ", 16000), "lab.yaml:5: nests more than 100 lists and mappings"},
		"nested entries":    {minimal + "hosts:\n" + strings.Repeat("- ", 30000) + "a", "lab.yaml:6: nests more than 100 lists and mappings"},
		"alias in itself":   {minimal + "networks: &n [*n]\n", "lab.yaml:5: networks[0]: undefined anchor of alias *n; define &n above it"},
		"merge of a scalar": {minimal + "kubernetes: {<<: 5}\n", "lab.yaml:5: kubernetes: << expects a mapping, got number 5"},
		"key without name":  {minimal + "? *x\n: b\n", "lab.yaml:5: a key must be a scalar"},
		"CRLF":              {strings.ReplaceAll(minimal+"provider: x\n", "\n", "\r\n"), `lab.yaml:5: provider: "x" is not a known provider; supported: netns, kind, vm`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := labs.Load("lab.yaml", []byte(c.file), labstest.Known())
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// A lab file that never ends, or that nobody writes, is read up to the limits.
func TestReadFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/dev/zero": "exceeds 64 KiB", fifo: "is empty"} {
		data, err := labs.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := labs.Load("lab.yaml", data, labstest.Known()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() { time.Sleep(50 * time.Millisecond); w.WriteString(minimal); w.Close() }()
	if data, err := labs.ReadFile(fmt.Sprintf("/dev/fd/%d", r.Fd())); err != nil || string(data) != minimal {
		t.Errorf("a pipe gives %q (%v)", data, err)
	}
}

// The reference loads, and documents every field there is.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := whole()
	if _, err := labs.Load("reference.yaml", data, known); err != nil {
		t.Fatal(err)
	}
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		switch {
		case typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer:
			visit(typ.Elem())
		case typ.Kind() == reflect.Struct && typ != reflect.TypeFor[labs.Duration]() && typ != reflect.TypeFor[labs.Name]() && typ != reflect.TypeFor[netip.Prefix]():
			for i := range typ.NumField() {
				name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if name == "-" {
					continue
				}
				if !strings.Contains(string(data), name+":") {
					t.Errorf("%s.%s is not in reference.yaml", typ.Name(), name)
				}
				visit(typ.Field(i).Type)
			}
		}
	}
	visit(reflect.TypeFor[labs.Lab]())
	for provider, section := range known.Sections {
		if !strings.Contains(string(data), "\n"+provider+":\n") {
			t.Errorf("section %s is not in reference.yaml", provider)
		}
		visit(reflect.TypeOf(section.New()).Elem())
	}
}

// whole is a catalogue with the sections of netlab's own providers.
func whole() labs.Known {
	known := labstest.Known()
	known.Providers, known.Sections = []string{"netns", "kind", "libvirt"}, map[string]labs.Section{"libvirt": settings.Section()}
	return known
}

// A provider's section is decoded, filled and validated by the provider, at its lines in the
// file, whichever provider the lab has.
func TestSection(t *testing.T) {
	for file, want := range map[string]string{
		"vm: {cpus: 4}": "",
		"provider: vm\nvm:\n  cpus: -1\n  uri: 5": "lab.yaml:7: vm.cpus: too few; use 1\nlab.yaml:8: vm.uri: expected a string, got number 5; quote it: \"5\"",
		"vm:\n  cpus: x": "lab.yaml:6: vm.cpus: expected an integer, got \"x\"",
		"vm: {cpu: 1}":   "lab.yaml:5: vm.cpu: unknown field; did you mean cpus?",
		"provider: vm\nnodes:\n- {name: cp, role: control-plane, hypervisor: a/b}": "lab.yaml:7: nodes[0].hypervisor: is not a host",
		"libvirt: {}": "lab.yaml:5: libvirt: unknown field; supported: apiVersion, kind, metadata, provider, hostAccess, kubernetes, networks, nodes, hosts, cni, loadBalancer, ingress, images, manifests, verify, limits, vm",
	} {
		lab, err := labs.Load("lab.yaml", []byte(minimal+file+"\n"), labstest.Known())
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s:\ngot  %v\nwant %s", file, err, want)
		}
		if want == "" && lab.Sections["vm"].(*labstest.VM).CPUs != 4 {
			t.Errorf("decoded %+v", lab.Sections["vm"])
		}
	}
	problems := labs.Problems{{Field: "vm.cpus", What: "a"}, {Field: "vm.image.url", What: "b"}}
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(minimal+"vm:\n  cpus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := problems.Located(file); got[0].Line != 5 || got[1].Line != 6 {
		t.Errorf("a later stage's problems are at %+v", got)
	}
}

// Load never panics; a lab that loads also builds, and is unchanged after marshalling and
// loading again.
func FuzzLoad(f *testing.F) {
	reference, err := os.ReadFile("reference.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reference)
	for _, seed := range []string{
		minimal,
		minimal + "provider: vm\nvm: {cpus: 3, uri: kvm1, image: {url: a}}\n",
		minimal + "hosts: []\nloadBalancer: {name: none}\ningress: {name: none}\n",
		minimal + "networks: [{name: n, cidr: 10.0.0.0/29, mtu: 9000}]\nnodes: [{name: a, role: control-plane}]\n",
		minimal + "networks: [{name: n, cidr: 10.0.0.0/24, impair: {delay: 1.5ms, jitter: 1µs, loss: 0.125%, rate: 10Mbit}}]\n",
		minimal + "nodes: [&n {name: a, role: control-plane, networks: [lan]}, {<<: *n, name: b, role: worker, count: 3}]\n",
		minimal + "cni: {name: cilium, options: {label: \"\\u2028 <&>\"}}\nverify: {throughput: {duration: 1m30s, streams: [2], repeats: 3, min: 1.5Gbit}}\n",
		"a: &a [*a]\n<<: [*a, *a]\n? [x]\n: !!str 5\n---\n%YAML 1.2\n",
		"nodes: {a: , b: }\nlinks: [a-b]\n",
	} {
		f.Add([]byte(seed))
	}
	known := labstest.Known()
	f.Fuzz(func(t *testing.T, data []byte) {
		lab, err := labs.Load("lab.yaml", data, known)
		if err != nil {
			if len(err.(labs.Problems)) == 0 {
				t.Error("an error without a problem")
			}
			return
		}
		if _, err := topology.Build(lab); err != nil && !errors.As(err, new(labs.Problems)) {
			t.Errorf("loads, but does not build: %v", err)
		}
		written, err := json.Marshal(lab)
		if err != nil {
			t.Fatal(err)
		}
		section, err := json.Marshal(lab.Sections["vm"])
		if err != nil {
			t.Fatal(err)
		}
		written = fmt.Appendf(nil, `%s,"vm":%s}`, written[:len(written)-1], section)
		again, err := labs.Load("again.yaml", written, known)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if !reflect.DeepEqual(lab, again) {
			t.Errorf("changed by writing and reading:\n%+v\n%+v", lab, again)
		}
	})
}
