package kubeadm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"netlab.dev/netlab/topology"
)

// pki is where kubeadm looks for certificates and creates missing ones.
const pki = "/etc/kubernetes/pki/"

// NewShared creates the files that several control planes share besides the CA: the CAs of etcd
// and of the front proxy, and the key that signs ServiceAccount tokens. kubeadm signs each control
// plane's certificates with them (https://kubernetes.io/docs/setup/best-practices/certificates/).
// Keys are absolute paths in a Node.
func NewShared() (map[string]File, error) {
	shared := map[string]File{}
	for path, name := range map[string]string{"etcd/ca": "etcd-ca", "front-proxy-ca": "front-proxy-ca"} {
		ca, err := authorityOf(name)
		if err != nil {
			return nil, fmt.Errorf("CA %s: %w", name, err)
		}
		shared[pki+path+".crt"], shared[pki+path+".key"] = File{ca.Cert, 0o644}, File{ca.Key, 0o600}
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the ServiceAccount key: %w", err)
	}
	key, err := encodeKey(tokens)
	if err != nil {
		return nil, err
	}
	public, err := encodePublic(tokens.Public())
	if err != nil {
		return nil, err
	}
	shared[pki+"sa.key"], shared[pki+"sa.pub"] = File{key, 0o600}, File{public, 0o644}
	return shared, nil
}

func encodePublic(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// arg is an extra argument of a component in kubeadm's configuration.
type arg struct{ name, value string }

// etcdConfig returns the etcd part of a ClusterConfiguration. Several members are all configured
// beforehand and start in parallel, instead of being added one after another.
func etcdConfig(plan topology.Plan, envs string) string {
	var args []arg
	if plan.Capabilities.Emulated {
		// fsync stays enabled: a member that lost confirmed writes could not rejoin.
		args = append(args, arg{"log-level", "error"})
	}
	if plan.HighlyAvailable() {
		var members []string
		for _, m := range plan.WithRole(topology.RoleControlPlane) {
			members = append(members, m.Name+"=https://"+netip.AddrPortFrom(m.Address(), 2380).String())
		}
		args = append(args, arg{"initial-cluster", strings.Join(members, ",")},
			arg{"heartbeat-interval", "300"}, arg{"election-timeout", "3000"})
	}
	var b strings.Builder
	b.WriteString("\netcd:\n  local:" + strings.ReplaceAll(envs, "\n", "\n  "))
	if len(args) > 0 {
		b.WriteString("\n    extraArgs:")
	}
	for _, a := range args {
		fmt.Fprintf(&b, "\n    - {name: %s, value: %q}", a.name, a.value)
	}
	return b.String()
}

// apiNames are the names and addresses in the API servers' certificates. Each certificate has
// those of all control planes: kubeadm has one configuration for the cluster.
func apiNames(plan topology.Plan) []string {
	names := []string{"127.0.0.1", "localhost"}
	machines := plan.WithRole(topology.RoleControlPlane)
	if plan.HighlyAvailable() {
		machines = append(machines, plan.APIEndpoint())
	}
	for _, m := range machines {
		names = append(names, m.Name)
		for _, a := range addresses(m) {
			names = append(names, a.String())
		}
	}
	return names
}

// quoted is the inside of a YAML list of strings: a machine may be called null, on or 1e3.
func quoted(texts []string) string {
	var out []string
	for _, text := range texts {
		out = append(out, strconv.Quote(text))
	}
	return strings.Join(out, ", ")
}
