package kubeadm

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

func plan(t *testing.T, workers bool) topology.Plan {
	t.Helper()
	text := `apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: files}
kubernetes: {podCIDR: 10.8.0.0/16, serviceCIDR: 10.9.0.0/16}
networks:
  - {name: lan, cidr: 172.30.0.0/24}
  - {name: storage, cidr: 172.31.0.0/24}
  - {name: wan, cidr: 203.0.113.0/24}
nodes:
  - {name: cp, role: control-plane, networks: [lan, storage]}
`
	if workers {
		text += "  - {name: w, role: worker, networks: [lan]}\n"
	}
	lab, err := labs.Load("files.yaml", []byte(text), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	p, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func files(t *testing.T, p topology.Plan, name string, ca *Authority, limits Limits) map[string]File {
	t.Helper()
	m, found := p.Machine(name)
	if !found {
		t.Fatalf("no machine %s", name)
	}
	out, err := NodeFiles(p, m, ca, limits)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	ca, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func certificate(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", data)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A kubelet's certificate chains to the CA, has the identity that the API server's Node
// authorizer expects, and is valid for the Node's name and addresses.
func TestKubeletCertificate(t *testing.T) {
	ca, p := newAuthority(t), plan(t, true)
	for _, node := range p.Nodes() {
		f := files(t, p, node.Name, ca, Limits{})
		if !bytes.Equal(f["/etc/kubernetes/pki/ca.crt"].Data, ca.Cert) {
			t.Error("the CA's file is another's")
		}
		roots := x509.NewCertPool()
		roots.AddCert(certificate(t, f["/etc/kubernetes/pki/ca.crt"].Data))
		c := certificate(t, f["/var/lib/kubelet/pki/kubelet.crt"].Data)
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s, usage %d: %v", node.Name, usage, err)
			}
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: time.Now().AddDate(1, 0, 0)}); err != nil {
			t.Errorf("in a year: %v", err)
		}
		if c.Subject.CommonName != "system:node:"+node.Name || !slices.Equal(c.Subject.Organization, []string{"system:nodes"}) {
			t.Errorf("it names %s", c.Subject)
		}
		names := []string{node.Name}
		for _, nic := range node.NICs {
			names = append(names, nic.Address().Addr().String())
		}
		for _, name := range names {
			if err := c.VerifyHostname(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(c.DNSNames)+len(c.IPAddresses) != len(names) {
			t.Errorf("it serves %v and %v, want %v", c.DNSNames, c.IPAddresses, names)
		}
		if c.IsCA {
			t.Error("a kubelet may sign certificates")
		}
		if _, err := tls.X509KeyPair(f["/var/lib/kubelet/pki/kubelet.crt"].Data, f["/var/lib/kubelet/pki/kubelet.key"].Data); err != nil {
			t.Errorf("certificate and key: %v", err)
		}
	}
	a, b := files(t, p, "cp", ca, Limits{}), files(t, p, "w", ca, Limits{})
	if bytes.Equal(a["/var/lib/kubelet/pki/kubelet.key"].Data, b["/var/lib/kubelet/pki/kubelet.key"].Data) {
		t.Error("two Nodes have the same key")
	}
}

// Only the owner can read keys, and only the control plane has the CA's.
func TestFilesAndModes(t *testing.T) {
	ca, p := newAuthority(t), plan(t, true)
	cp, w := files(t, p, "cp", ca, Limits{}), files(t, p, "w", ca, Limits{})
	for name, all := range map[string]map[string]File{"cp": cp, "w": w} {
		for path, f := range all {
			if !strings.HasPrefix(path, "/") || len(f.Data) == 0 {
				t.Errorf("%s: %q holds %d bytes", name, path, len(f.Data))
			}
			if bytes.Contains(f.Data, []byte("PRIVATE KEY")) || strings.HasSuffix(path, ".conf") {
				if f.Mode != 0o600 {
					t.Errorf("%s: %s has mode %o", name, path, f.Mode)
				}
			}
		}
	}
	if !bytes.Equal(cp["/etc/kubernetes/pki/ca.key"].Data, ca.Key) || len(cp[Config].Data) == 0 {
		t.Error("the control plane lacks what kubeadm needs")
	}
	for _, path := range []string{"/etc/kubernetes/pki/ca.key", Config} {
		if _, has := w[path]; has {
			t.Errorf("a worker has %s", path)
		}
	}
}

// A CA is the same after it was kept, and what it signs then chains to it too.
func TestAuthorityKept(t *testing.T) {
	ca := newAuthority(t)
	again, err := LoadAuthority(ca.Cert, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := again.issue(identity{user: "someone", groups: []string{"some"}})
	if err != nil {
		t.Fatal(err)
	}
	root, leaf := certificate(t, ca.Cert), certificate(t, cert)
	if err := leaf.CheckSignatureFrom(root); err != nil {
		t.Error(err)
	}
	if !root.IsCA || root.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("the CA may not sign: %+v", root.KeyUsage)
	}
	if _, err := LoadAuthority([]byte("no"), []byte("PEM")); err == nil {
		t.Error("a CA without PEM loads")
	}
	other := newAuthority(t)
	if err := leaf.CheckSignatureFrom(certificate(t, other.Cert)); err == nil {
		t.Error("another CA vouches for it")
	}
}

// The kubelet's kubeconfig is one that client-go takes: with it a TLS server of that CA
// sees the Node's identity.
func TestKubeletConf(t *testing.T) {
	ca, p := newAuthority(t), plan(t, true)
	f := files(t, p, "w", ca, Limits{})
	config, err := clientcmd.RESTConfigFromKubeConfig(f["/etc/kubernetes/kubelet.conf"].Data)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://" + p.Kubernetes.API.String(); config.Host != want {
		t.Errorf("server %s, want %s", config.Host, want)
	}
	client, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	serverFiles := files(t, p, "cp", ca, Limits{})
	server, err := tls.X509KeyPair(serverFiles["/var/lib/kubelet/pki/kubelet.crt"].Data, serverFiles["/var/lib/kubelet/pki/kubelet.key"].Data)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(config.CAData)
	if who := handshake(t,
		&tls.Config{Certificates: []tls.Certificate{client}, RootCAs: pool, ServerName: "cp"},
		&tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
	); who != "system:node:w" {
		t.Errorf("the server sees %q", who)
	}
}

// The administrator's kubeconfig goes to the server given, under the name given, and
// requires no RBAC binding in the cluster.
func TestAdminKubeconfig(t *testing.T) {
	ca := newAuthority(t)
	data, err := AdminKubeconfig("mine", ca, "https://127.0.0.1:40123")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clientcmd.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	if raw.CurrentContext != "mine" || raw.Contexts["mine"] == nil || raw.Clusters["mine"] == nil || raw.AuthInfos["mine"] == nil {
		t.Errorf("its names are not mine: %+v", raw)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if c := certificate(t, config.CertData); config.Host != "https://127.0.0.1:40123" || !slices.Equal(c.Subject.Organization, []string{"system:masters"}) {
		t.Errorf("server %s, certificate of %s", config.Host, c.Subject)
	}
}

// handshake returns the client's name as the server sees it.
func handshake(t *testing.T, client, server *tls.Config) string {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Client(a, client).Handshake() }()
	s := tls.Server(b, server)
	if err := errors.Join(s.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return s.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// documents parses every YAML document of a file strictly enough to be JSON, by kind.
func documents(t *testing.T, data []byte) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var d map[string]any
		if err := yaml.UnmarshalStrict(text, &d); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		out[d["kind"].(string)] = d
	}
}

// at follows a path of keys, the elements of lists by number.
func at(t *testing.T, in any, keys ...any) any {
	t.Helper()
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, ok := in.(map[string]any)
			if !ok || m[k] == nil {
				t.Fatalf("no %v in %v", k, in)
			}
			in = m[k]
		case int:
			l, ok := in.([]any)
			if !ok || len(l) <= k {
				t.Fatalf("no [%d] in %v", k, in)
			}
			in = l[k]
		}
	}
	return in
}

func TestKubeadmConfig(t *testing.T) {
	p := plan(t, true)
	d := documents(t, files(t, p, "cp", newAuthority(t), Limits{})[Config].Data)
	if len(d) != 4 {
		t.Fatalf("kinds are %v", d)
	}
	for _, c := range []struct {
		want any
		path []any
	}{
		{p.Kubernetes.API.Addr().String(), []any{"InitConfiguration", "localAPIEndpoint", "advertiseAddress"}},
		{6443.0, []any{"InitConfiguration", "localAPIEndpoint", "bindPort"}},
		{"cp", []any{"InitConfiguration", "nodeRegistration", "name"}},
		{"unix:///run/containerd/containerd.sock", []any{"InitConfiguration", "nodeRegistration", "criSocket"}},
		{"NoSchedule", []any{"InitConfiguration", "nodeRegistration", "taints", 0, "effect"}},
		{"kubeadm.k8s.io/v1beta4", []any{"ClusterConfiguration", "apiVersion"}},
		{p.Kubernetes.Version, []any{"ClusterConfiguration", "kubernetesVersion"}},
		{"10.8.0.0/16", []any{"ClusterConfiguration", "networking", "podSubnet"}},
		{"10.9.0.0/16", []any{"ClusterConfiguration", "networking", "serviceSubnet"}},
		{p.Kubernetes.Domain, []any{"ClusterConfiguration", "networking", "dnsDomain"}},
		{p.Kubernetes.Proxy, []any{"KubeProxyConfiguration", "mode"}},
		{"10.8.0.0/16", []any{"KubeProxyConfiguration", "clusterCIDR"}},
		// These would write to the machine beneath.
		{0.0, []any{"KubeProxyConfiguration", "conntrack", "maxPerCore"}},
		{0.0, []any{"KubeProxyConfiguration", "conntrack", "min"}},
		{0.0, []any{"KubeProxyConfiguration", "oomScoreAdj"}},
	} {
		if got := at(t, d[c.path[0].(string)], c.path[1:]...); got != c.want {
			t.Errorf("%v is %v, want %v", c.path, got, c.want)
		}
	}
	// The forwarder's clients come to 127.0.0.1, the Nodes to the NICs' addresses.
	sans := at(t, d["ClusterConfiguration"], "apiServer", "certSANs").([]any)
	for _, want := range []any{"127.0.0.1", "localhost", "cp", "172.30.0.10", "172.31.0.10"} {
		if !slices.Contains(sans, want) {
			t.Errorf("the API server's certificate lacks %v: %v", want, sans)
		}
	}
}

// kube-proxy's own types know every field of its configuration. In ipvs mode a Node would without
// strictARP answer ARP for every VIP.
func TestProxyConfig(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "ipvs"} {
		p := plan(t, true)
		p.Kubernetes.Proxy = mode
		text := ""
		for _, d := range strings.Split(string(files(t, p, "cp", newAuthority(t), Limits{})[Config].Data), "---\n") {
			if strings.Contains(d, "kind: KubeProxyConfiguration\n") {
				text = d
			}
		}
		var config kubeproxy.KubeProxyConfiguration
		if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
		if string(config.Mode) != mode || config.ClusterCIDR != p.Kubernetes.PodCIDR().String() || config.IPVS.StrictARP != (mode == "ipvs") {
			t.Errorf("in mode %s the configuration of kube-proxy is\n%s", mode, text)
		}
	}
}

// With workers the control plane is tainted; alone it must accept Pods.
func TestTaints(t *testing.T) {
	ca := newAuthority(t)
	for _, workers := range []bool{true, false} {
		f := files(t, plan(t, workers), "cp", ca, Limits{})
		taints := at(t, documents(t, f[Config].Data)["InitConfiguration"], "nodeRegistration", "taints").([]any)
		kubelet := documents(t, f["/var/lib/kubelet/config.yaml"].Data)["KubeletConfiguration"]
		_, registers := kubelet["registerWithTaints"]
		if (len(taints) == 1) != workers || registers != workers {
			t.Errorf("workers %t: kubeadm taints %v, kubelet %v", workers, taints, kubelet["registerWithTaints"])
		}
	}
	worker := documents(t, files(t, plan(t, true), "w", ca, Limits{})["/var/lib/kubelet/config.yaml"].Data)["KubeletConfiguration"]
	if taints, has := worker["registerWithTaints"]; has {
		t.Errorf("a worker is tainted: %v", taints)
	}
}

func TestKubeletConfig(t *testing.T) {
	p := plan(t, true)
	for _, v1 := range []bool{true, false} {
		f := files(t, p, "w", newAuthority(t), Limits{CgroupV1: v1})
		d := documents(t, f["/var/lib/kubelet/config.yaml"].Data)["KubeletConfiguration"]
		for _, c := range []struct {
			want any
			path []any
		}{
			{!v1, []any{"failCgroupV1"}},
			{p.Kubernetes.DNS().String(), []any{"clusterDNS", 0}},
			{p.Kubernetes.Domain, []any{"clusterDomain"}},
			{false, []any{"authentication", "anonymous", "enabled"}},
			{"Webhook", []any{"authorization", "mode"}},
			{0.0, []any{"oomScoreAdj"}},
			{false, []any{"failSwapOn"}},
		} {
			if got := at(t, d, c.path...); got != c.want {
				t.Errorf("%v is %v, want %v", c.path, got, c.want)
			}
		}
		// The files that it names are among those that are made.
		for _, path := range []string{at(t, d, "authentication", "x509", "clientCAFile").(string), d["tlsCertFile"].(string), d["tlsPrivateKeyFile"].(string)} {
			if _, made := f[path]; !made {
				t.Errorf("kubelet requires %s, which is not written", path)
			}
		}
	}
}

// Labs and machines whose names YAML takes for numbers, booleans or nothing keep their names in
// every file.
func TestNumbersAsNames(t *testing.T) {
	for _, name := range []string{"2024", "null", "on", "1e3", "0x10", "yes", "0b1", "1"} {
		text := fmt.Sprintf("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: %q}\nnetworks: [{name: lan, cidr: 172.30.0.0/24}]\n"+
			"nodes: [{name: %q, role: control-plane}]\nhosts: []\nloadBalancer: {name: none}\ningress: {name: none}\n", name, name)
		lab, err := labs.Load("numbers.yaml", []byte(text), labstest.Known())
		if err != nil {
			t.Fatal(err)
		}
		p, err := topology.Build(lab)
		if err != nil {
			t.Fatal(err)
		}
		ca, err := NewAuthority()
		if err != nil {
			t.Fatal(err)
		}
		configs := 0
		for path, f := range files(t, p, name, ca, Limits{}) {
			if !bytes.HasPrefix(f.Data, []byte("apiVersion: kubeadm")) {
				continue
			}
			configs++
			reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(f.Data)))
			for {
				doc, err := reader.Read()
				if errors.Is(err, io.EOF) {
					break
				}
				var config struct {
					Kind             string
					ClusterName      string
					NodeRegistration struct{ Name string }
					APIServer        struct{ CertSANs []string }
				}
				if err := errors.Join(err, yaml.Unmarshal(doc, &config)); err != nil {
					t.Fatalf("%s: %s: %v", name, path, err)
				}
				switch config.Kind {
				case "InitConfiguration":
					if config.NodeRegistration.Name != name {
						t.Errorf("Node %q is registered as %q", name, config.NodeRegistration.Name)
					}
				case "ClusterConfiguration":
					if config.ClusterName != name || !slices.Contains(config.APIServer.CertSANs, name) {
						t.Errorf("cluster %q is called %q, with the names %q", name, config.ClusterName, config.APIServer.CertSANs)
					}
				}
			}
		}
		if configs == 0 {
			t.Error("no configuration of kubeadm found")
		}
		config, err := AdminKubeconfig(name, ca, "https://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if c, err := clientcmd.Load(config); err != nil || c.CurrentContext != name || c.Contexts[name] == nil || c.Contexts[name].Cluster != name {
			t.Errorf("the kubeconfig of %q: %+v (%v)", name, c, err)
		}
	}
}
