package kubeadm

import (
	"testing"

	"sigs.k8s.io/yaml"
)

// Emulated control planes do not run what is not required: kubeadm finds the
// changes to its static Pods where its configuration says.
func TestEmulatedControlPlane(t *testing.T) {
	p := plan(t, true)
	p.Capabilities.Emulated = true
	f := files(t, p, "cp", newAuthority(t), Limits{})
	d := documents(t, f[Config].Data)
	dir := at(t, d["InitConfiguration"], "patches", "directory").(string)
	for _, name := range []string{"etcd", "kube-apiserver", "kube-scheduler"} {
		var pod any
		// kubeadm reads a file as TARGET+PATCHTYPE.yaml.
		if err := yaml.Unmarshal(f[dir+"/"+name+"+strategic.yaml"].Data, &pod); err != nil {
			t.Fatal(err)
		}
		if got := at(t, pod, "spec", "containers", 0, "name"); got != name {
			t.Errorf("the patch of %s is for %v", name, got)
		}
		if got := at(t, pod, "spec", "containers", 0, "readinessProbe", "periodSeconds"); got != 10.0 {
			t.Errorf("%s is asked each %v seconds", name, got)
		}
	}
	etcd := args(t, at(t, d["ClusterConfiguration"], "etcd", "local"))
	if _, forgets := etcd["unsafe-no-fsync"]; forgets || etcd["log-level"] != "error" {
		t.Errorf("etcd's arguments are %v: it may not lose what it confirmed when its machine ends", etcd)
	}
	for _, path := range []string{"/etc/kubernetes/patches/etcd+strategic.yaml"} {
		if _, has := files(t, plan(t, true), "cp", newAuthority(t), Limits{})[path]; has {
			t.Errorf("a Node of namespaces has %s", path)
		}
	}
}
