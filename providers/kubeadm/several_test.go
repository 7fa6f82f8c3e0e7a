package kubeadm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

// three is a plan of three control planes and a worker, with their files.
func three(t *testing.T) (topology.Plan, map[string]map[string]File) {
	t.Helper()
	lab, err := labs.Load("three.yaml", []byte(`apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: three}
nodes:
  - {name: cp, role: control-plane, count: 3}
  - {name: w, role: worker}
`), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	p, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	if ca.Shared, err = NewShared(); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]File{}
	for _, n := range p.Nodes() {
		all[n.Name] = files(t, p, n.Name, ca, Limits{})
	}
	return p, all
}

// Every kubelet uses the load balancer, and kubeadm's configuration is the same on every
// control plane, except for each one's name and addresses.
func TestSeveralConfigs(t *testing.T) {
	p, all := three(t)
	for name, f := range all {
		config, err := clientcmd.RESTConfigFromKubeConfig(f["/etc/kubernetes/kubelet.conf"].Data)
		if err != nil || config.Host != "https://172.30.0.101:6443" {
			t.Errorf("%s goes to %v (%v)", name, config, err)
		}
	}
	first := documents(t, all["cp1"][Config].Data)
	for _, m := range p.WithRole(topology.RoleControlPlane) {
		d := documents(t, all[m.Name][Config].Data)
		for _, kind := range []string{"ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"} {
			if !reflect.DeepEqual(d[kind], first[kind]) {
				t.Errorf("the %s of %s is %v, of cp1 %v", kind, m.Name, d[kind], first[kind])
			}
		}
		if at(t, d["InitConfiguration"], "localAPIEndpoint", "advertiseAddress") != m.Address().String() ||
			at(t, d["InitConfiguration"], "nodeRegistration", "name") != m.Name {
			t.Errorf("%s is %v", m.Name, d["InitConfiguration"])
		}
	}
	cluster := first["ClusterConfiguration"]
	if got := at(t, cluster, "controlPlaneEndpoint"); got != "172.30.0.101:6443" {
		t.Errorf("the endpoint is %v", got)
	}
	if got := args(t, at(t, cluster, "etcd", "local"))["initial-cluster"]; got != "cp1=https://172.30.0.10:2380,cp2=https://172.30.0.11:2380,cp3=https://172.30.0.12:2380" {
		t.Errorf("etcd's members are %v", got)
	}
	for _, part := range []string{"controllerManager", "scheduler"} {
		if got := args(t, at(t, cluster, part))["leader-elect"]; got != "true" {
			t.Errorf("%s elects a leader: %v", part, got)
		}
	}
	sans := at(t, cluster, "apiServer", "certSANs").([]any)
	for _, want := range []any{"127.0.0.1", "cp1", "cp3", "172.30.0.10", "172.30.0.12", "lb", "172.30.0.101"} {
		if !slices.Contains(sans, want) {
			t.Errorf("the API servers' certificates lack %v: %v", want, sans)
		}
	}
}

// args are the extraArgs of a component.
func args(t *testing.T, of any) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, a := range at(t, of, "extraArgs").([]any) {
		out[at(t, a, "name").(string)] = at(t, a, "value")
	}
	return out
}

// A single control plane has no API endpoint, no members and no elections.
func TestOneConfig(t *testing.T) {
	ca := newAuthority(t)
	var err error
	if ca.Shared, err = NewShared(); err != nil {
		t.Fatal(err)
	}
	f := files(t, plan(t, true), "cp", ca, Limits{})
	cluster := documents(t, f[Config].Data)["ClusterConfiguration"]
	if _, has := cluster["controlPlaneEndpoint"]; has {
		t.Errorf("it has controlPlaneEndpoint: %v", cluster["controlPlaneEndpoint"])
	}
	etcd := at(t, at(t, cluster, "etcd"), "local")
	if args := etcd.(map[string]any)["extraArgs"]; args != nil {
		t.Errorf("etcd has extra arguments: %v", args)
	}
	name, value, _ := strings.Cut(LessCollecting, "=")
	for _, of := range []any{etcd, at(t, cluster, "apiServer"), at(t, cluster, "scheduler"), at(t, cluster, "controllerManager")} {
		env := at(t, of, "extraEnvs").([]any)[0]
		if at(t, env, "name") != name || at(t, env, "value") != value {
			t.Errorf("its environment is %v, not %s", env, LessCollecting)
		}
	}
	if got := args(t, at(t, cluster, "scheduler"))["leader-elect"]; got != "false" {
		t.Errorf("the scheduler elects a leader: %v", got)
	}
	for path := range ca.Shared {
		if _, has := f[path]; has {
			t.Errorf("it has %s, which kubeadm makes", path)
		}
	}
}

// What the control planes share is the same in each, and in no worker; kubeadm signs with
// the CAs, and API servers check each other's tokens with the key.
func TestShared(t *testing.T) {
	_, all := three(t)
	shared, err := NewShared()
	if err != nil {
		t.Fatal(err)
	}
	if len(shared) != 6 {
		t.Errorf("shared are %d files", len(shared))
	}
	for path := range shared {
		f := all["cp1"][path]
		if len(f.Data) == 0 || !bytes.Equal(f.Data, all["cp2"][path].Data) || !bytes.Equal(f.Data, all["cp3"][path].Data) {
			t.Errorf("%s is not in every control plane, and the same", path)
		}
		if _, has := all["w"][path]; has {
			t.Errorf("the worker has %s", path)
		}
		if strings.HasSuffix(path, ".key") != (f.Mode == 0o600) {
			t.Errorf("%s has mode %o", path, f.Mode)
		}
	}
	for _, path := range []string{"etcd/ca", "front-proxy-ca"} {
		cert, key := all["cp1"][pki+path+".crt"].Data, all["cp1"][pki+path+".key"].Data
		if ca, err := LoadAuthority(cert, key); err != nil || !certificate(t, ca.Cert).IsCA {
			t.Errorf("%s is no CA (%v)", path, err)
		}
	}
	key, err := keyutil.ParsePrivateKeyPEM(all["cp1"][pki+"sa.key"].Data)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(all["cp1"][pki+"sa.pub"].Data)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !reflect.DeepEqual(crypto.PublicKey(public), key.(crypto.Signer).Public()) {
		t.Errorf("sa.pub is not sa.key's (%v)", err)
	}
}
