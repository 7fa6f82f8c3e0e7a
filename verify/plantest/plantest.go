// Package plantest provides tests of verify with the plans of this repository's labs, what
// CNIs support, and golden files. It takes the name of a lab in scenarios; it makes no lab.
package plantest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Flannel is what Flannel with VXLAN supports, beside a load balancer and an ingress controller.
func Flannel() components.Support {
	return components.Support{VIPs: vips(), Ingress: ingress(), L7Reason: "Flannel does not enforce NetworkPolicy", Encapsulation: components.Encapsulation{Kind: "vxlan", Port: 8472, Overhead: 50}}
}

// Enforcing is a CNI that enforces policies and announces Pod CIDRs to outside routers.
func Enforcing() components.Support {
	return components.Support{VIPs: vips(), Ingress: ingress(), NetworkPolicy: true, IPBlockPods: true, RoutesPodCIDR: true, L7Reason: "no Envoy"}
}

func vips() components.VIPs {
	return components.VIPs{PoolAnnotation: "pool.example", ExcludesNodes: true}
}

func ingress() components.Ingress {
	return components.Ingress{Class: "example", Annotations: map[string]string{"redirect.example": "no"}}
}

// Plan is the plan of a lab in scenarios.
func Plan(t *testing.T, scenario string) topology.Plan {
	t.Helper()
	file := filepath.Join("..", "..", "scenarios", scenario+".yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return load(t, file, data)
}

// Of is the plan of a lab file that lacks its header.
func Of(t *testing.T, text string) topology.Plan {
	t.Helper()
	return load(t, "test.yaml", []byte("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: test}\n"+text))
}

func load(t *testing.T, file string, data []byte) topology.Plan {
	t.Helper()
	plan, err := topology.Load(file, data, labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// Golden compares text with a file in testdata, or rewrites the file with -update.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}
