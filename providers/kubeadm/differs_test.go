package kubeadm

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

// own are the values that kubeadm sets itself, or kubelet where kubeadm sets none
// (cmd/kubeadm/app/componentconfigs and pkg/kubelet/apis/config/v1beta1/defaults.go of v1.37.2).
func own() map[string]map[string]any {
	return map[string]map[string]any{
		"kubelet": {
			"authentication.anonymous.enabled": false, "authentication.webhook.enabled": true,
			"authentication.x509.clientCAFile": "/etc/kubernetes/pki/ca.crt", "authorization.mode": "Webhook",
			"clusterDomain":            "cluster.local",
			"staticPodPath":            "/etc/kubernetes/manifests",
			"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		},
		"kubeadm": {"localAPIEndpoint.bindPort": 6443.0, "networking.dnsDomain": "cluster.local"},
	}
}

// sources are the kinds of documents by the name that Difference.In has for them.
func sources() map[string]string {
	return map[string]string{"KubeletConfiguration": "kubelet", "KubeProxyConfiguration": "kube-proxy",
		"InitConfiguration": "kubeadm", "ClusterConfiguration": "kubeadm"}
}

// configured are the settings of every Node of a lab, by source.
func configured(t *testing.T, text, name string, change func(*topology.Plan, *Limits)) map[string]map[string]any {
	t.Helper()
	lab, err := labs.Load("lab.yaml", []byte("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: "+name+"}\n"+text), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	p, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	p.Kubernetes.Version = "v1.0.0-" + name
	var limits Limits
	change(&p, &limits)
	ca := newAuthority(t)
	if ca.Shared, err = NewShared(); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{"kubelet": {}, "kubeadm": {}, "kube-proxy": {}}
	for _, n := range p.Nodes() {
		f := files(t, p, n.Name, ca, limits)
		for _, path := range []string{Config, "/var/lib/kubelet/config.yaml"} {
			for kind, d := range documents(t, f[path].Data) {
				delete(d, "apiVersion")
				delete(d, "kind")
				maps.Copy(out[sources()[kind]], components.Settings(d))
			}
		}
	}
	return out
}

// Every value that netlab sets for kubelet, kubeadm and kube-proxy is kubeadm's own, follows from
// the lab file, or is listed with its reason; and nothing is listed that is not set. What follows
// from the lab file is found by a second lab of the same shape in which all else differs.
func TestDifferencesAreListed(t *testing.T) {
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	k := catalog["kubernetes"][0]
	const other = `kubernetes: {podCIDR: 10.8.0.0/16, serviceCIDR: 10.9.0.0/16}
networks: [{name: net, cidr: 192.168.7.0/24}, {name: wan, cidr: 203.0.113.0/24}]
`
	shapes := map[string]struct {
		nodes  string
		change func(*topology.Plan, *Limits)
	}{
		"a control plane and a worker": {"nodes: [{name: %scp, role: control-plane}, {name: %sw, role: worker}]", func(*topology.Plan, *Limits) {}},
		"a control plane alone":        {"nodes: [{name: %scp, role: control-plane}]\nhosts: [{name: %sh, role: internet, networks: [wan]}]", func(*topology.Plan, *Limits) {}},
		"three, emulated, on cgroup v1": {"nodes: [{name: %scp, role: control-plane, count: 3}, {name: %sw, role: worker}]",
			func(p *topology.Plan, l *Limits) { p.Capabilities.Emulated, l.CgroupV1 = true, true }},
		"with kube-proxy in mode ipvs": {"nodes: [{name: %scp, role: control-plane}, {name: %sw, role: worker}]",
			func(p *topology.Plan, _ *Limits) { p.Kubernetes.Proxy = "ipvs" }},
	}
	used := map[string]bool{}
	for what, shape := range shapes {
		one := configured(t, sprint(shape.nodes, "a"), "one", shape.change)
		two := configured(t, other+sprint(shape.nodes, "b"), "two", shape.change)
		for in, fields := range one {
			for field, value := range fields {
				d, listed := k.Listed(in, field)
				if listed {
					used[d.In+" "+d.Field] = true
				}
				switch another, both := two[in][field]; {
				case listed && d.Value != nil && !reflect.DeepEqual(wanted(d, field), value):
					t.Errorf("%s: %s %s is %v, and listed as %v", what, in, field, value, d.Value)
				case listed, reflect.DeepEqual(own()[in][field], value), both && !reflect.DeepEqual(another, value):
				default:
					t.Errorf("%s: %s %s is set to %v: list it under differs in components/kubernetes/component.yaml with its reason, or leave it out", what, in, field, value)
				}
			}
		}
	}
	for _, d := range k.Differs {
		if !used[d.In+" "+d.Field] {
			t.Errorf("%s %s is listed as different and not set", d.In, d.Field)
		}
	}
	if len(used) < 20 {
		t.Errorf("%d differences were found", len(used))
	}
}

func sprint(nodes, prefix string) string { return strings.ReplaceAll(nodes, "%s", prefix) }

// wanted is the listed value of a field, which is the entry's or below it.
func wanted(d components.Difference, field string) any {
	for path, value := range components.Settings(d.Value) {
		if strings.Trim(d.Field+"."+path, ".") == field || fmt.Sprint(d.Field, path) == field {
			return value
		}
	}
	return nil
}
