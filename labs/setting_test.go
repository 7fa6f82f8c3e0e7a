package labs_test

import (
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

func TestParseSettings(t *testing.T) {
	for text, want := range map[string]string{
		"cni=flannel,calico":                         "cni=flannel cni=calico",
		"cni.version=v0.28.4, v0.28.10":              "cni.version=v0.28.4 cni.version=v0.28.10",
		"nodes[1].count=2":                           "nodes[1].count=2",
		"cni={name: cilium, options: {a: b}},calico": "cni={name: cilium, options: {a: b}} cni=calico",
		`metadata.name="true",x`:                     `metadata.name="true" metadata.name=x`,
		"cni":                                        `! "cni" has no value`,
		"=x":                                         `! "" is not the path of a field`,
		"nodes[x]=1":                                 `! "nodes[x]" is not the path`,
		"cni=":                                       "! cni: no value",
		"cni=a,,b":                                   "! cni: ",
		"cni=a,a":                                    "! cni: a is listed twice",
		"cni={a":                                     `! cni: "{a" is not a list of YAML values`,
	} {
		all, err := labs.ParseSettings(text)
		if refusal, refused := strings.CutPrefix(want, "! "); refused {
			if err == nil || !strings.Contains(err.Error(), refusal) {
				t.Errorf("%s: %v, %v; want the error %q", text, all, err, refusal)
			}
			continue
		}
		var got []string
		for _, s := range all {
			got = append(got, s.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

const settable = `# a comment
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: "2024"}
kubernetes: &k
  proxy: iptables
nodes:
  - {name: cp, role: control-plane}
  - name: w
    role: worker
    count: 2
cni: {name: cilium, options: {mtu: 1400}}
`

// What is set is what Load reads; everything else stays as the file has it.
func TestSet(t *testing.T) {
	text, err := labs.Set([]byte(settable), []labs.Setting{
		{Field: "cni", Value: "flannel"}, {Field: "nodes[1].count", Value: "3"}, {Field: "kubernetes.podCIDR", Value: "10.9.0.0/16"},
		{Field: "verify.throughput.repeats", Value: "6"}})
	if err != nil {
		t.Fatal(err)
	}
	lab, err := labs.Load("lab.yaml", text, labstest.Known())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if lab.CNI.Name != "flannel" || lab.CNI.Options["mtu"] != "" {
		t.Errorf("cni: %+v", lab.CNI)
	}
	i := slices.IndexFunc(lab.Nodes, func(g labs.NodeGroup) bool { return g.Name == "w" })
	if lab.Nodes[i].Count != 3 || lab.Kubernetes.Proxy != "iptables" || lab.Kubernetes.PodCIDR.String() != "10.9.0.0/16" {
		t.Errorf("%+v %+v", lab.Nodes, lab.Kubernetes)
	}
	if lab.Verify.Throughput.Repeats != 6 || lab.Metadata.Name.String() != "2024" {
		t.Errorf("%+v %s", lab.Verify, lab.Metadata.Name)
	}
}

// A setting that does not fit the file says where.
func TestSetMisfits(t *testing.T) {
	for field, want := range map[string]string{
		"nodes.count":        "nodes is a list: nodes[0] is its first item",
		"nodes[2].count":     "nodes has 2 items in the file",
		"hosts[0].role":      "hosts is not in the file",
		"kind.of":            "kind is Lab in the file",
		"kubernetes[0].role": "kubernetes is a mapping, not a list",
	} {
		_, err := labs.Set([]byte(settable), []labs.Setting{{Field: field, Value: "1"}})
		if err == nil || !strings.Contains(err.Error(), field+": "+want) {
			t.Errorf("%s: %v, want %q", field, err, want)
		}
	}
}
