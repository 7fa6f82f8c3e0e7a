package labs_test

import (
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

// What a lab may ask of a component is what the version has that it chose.
func TestVersions(t *testing.T) {
	known := labstest.Known()
	known.CNIs["cilium"] = labs.Choices{
		{Version: "v2.0.0", Options: map[string][]string{"routing": {"native", "tunnel"}}},
		{Version: "v1.0.0", Options: map[string][]string{"routing": {"tunnel"}, "old": {"yes"}}},
	}
	const head = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: x}\n"
	for text, want := range map[string]string{
		"cni: {name: cilium}": "",
		"cni: {name: cilium, version: v1.0.0, options: {old: 'yes'}}":      "",
		"cni: {name: cilium, version: v2.0.0, options: {old: 'yes'}}":      "lab.yaml:4: cni.options.old: ",
		"cni: {name: cilium, version: v1.0.0, options: {routing: native}}": "lab.yaml:4: cni.options.routing: ",
		"cni: {name: cilium, version: v3.0.0}":                             "lab.yaml:4: cni.version: cilium v3.0.0 is not available; this release ships v2.0.0, v1.0.0",
		"kubernetes: {version: v1.30.1}":                                   "lab.yaml:4: kubernetes.version: Kubernetes v1.30.1 is not available; this release ships v1.37.2, v1.36.3",
		"loadBalancer: {version: v9}":                                      "lab.yaml:4: loadBalancer.version: metallb v9 is not available; this release ships v0.15.2",
		"ingress: {version: v9}":                                           "lab.yaml:4: ingress.version: ingress-nginx v9 is not available; this release ships v1.11.0",
	} {
		lab, err := labs.Load("lab.yaml", []byte(head+text+"\n"), known)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if routing := lab.CNI.Options["routing"]; err == nil && !slices.Contains(known.CNIs["cilium"].Of(lab.CNI.Version).Options["routing"][:1], routing) {
			t.Errorf("%s: the default of routing is %q", text, routing)
		}
	}
	lab := labs.Default(labs.MustName("x"), known)
	if lab.CNI.Name != "flannel" || lab.LoadBalancer.Version != "v0.15.2" || lab.Ingress.Version != "v1.11.0" || lab.Kubernetes.Version != "v1.37.2" {
		t.Errorf("the default lab has %+v, %+v, %+v, %+v", lab.Kubernetes, lab.CNI, lab.LoadBalancer, lab.Ingress)
	}
}
