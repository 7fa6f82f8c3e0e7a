package kubeadm

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"netlab.dev/netlab/topology"
)

// File is one file of a Node, written before the Node starts.
type File struct {
	Data []byte
	Mode uint32
}

// Config is the path of the kubeadm configuration in the control plane Node.
const Config = "/etc/kubernetes/kubeadm.yaml"

// Limits are restrictions that the machine imposes on its Nodes.
type Limits struct {
	CgroupV1 bool // kubelet refuses cgroup v1 unless configured otherwise
}

// NodeFiles returns every file that a Node's kubelet requires to start and register
// without `kubeadm join`: CA, client certificate, serving certificate, kubelet
// configuration. A control plane also gets the CA's key, the keys that several control planes
// share, and kubeadm's configuration. Keys are absolute paths in the Node.
func NodeFiles(plan topology.Plan, node topology.Machine, ca *Authority, limits Limits) (map[string]File, error) {
	files := map[string]File{
		"/etc/kubernetes/pki/ca.crt":   {ca.Cert, 0o644},
		"/var/lib/kubelet/config.yaml": {[]byte(kubeletConfig(plan, node, limits)), 0o644},
	}
	cert, key, err := ca.issue(identity{user: "system:node:" + node.Name, groups: []string{"system:nodes"},
		names: []string{node.Name}, ips: addresses(node)})
	if err != nil {
		return nil, err
	}
	files["/var/lib/kubelet/pki/kubelet.crt"] = File{cert, 0o644}
	files["/var/lib/kubelet/pki/kubelet.key"] = File{key, 0o600}
	files["/etc/kubernetes/kubelet.conf"] = File{kubeconfig(plan.Lab.Label(), "https://"+plan.Kubernetes.API.String(), "system:node:"+node.Name, ca.Cert, cert, key), 0o600}
	if node.Role == topology.RoleControlPlane {
		if plan.HighlyAvailable() {
			maps.Copy(files, ca.Shared)
		}
		files["/etc/kubernetes/pki/ca.key"] = File{ca.Key, 0o600}
		files[Config] = File{[]byte(kubeadmConfig(plan, node)), 0o600}
		if plan.Capabilities.Emulated {
			for _, name := range []string{"etcd", "kube-apiserver", "kube-scheduler"} {
				files[patches+"/"+name+"+strategic.yaml"] = File{fmt.Appendf(nil, lessProbing, name), 0o644}
			}
		}
	}
	return files, nil
}

// AdminKubeconfig returns a cluster administrator's kubeconfig for a server URL. Cluster, user and
// context have the given name, so that several fit into one file. The group is system:masters,
// which requires no ClusterRoleBinding and so works immediately.
func AdminKubeconfig(name string, ca *Authority, server string) ([]byte, error) {
	cert, key, err := ca.issue(identity{user: "netlab-admin", groups: []string{"system:masters"}})
	if err != nil {
		return nil, err
	}
	return kubeconfig(name, server, name, ca.Cert, cert, key), nil
}

func addresses(node topology.Machine) []netip.Addr {
	var out []netip.Addr
	for _, nic := range node.NICs {
		for _, a := range nic.Addresses {
			out = append(out, a.Addr())
		}
	}
	return out
}

func kubeconfig(cluster, server, user string, ca, cert, key []byte) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]q
  cluster: {server: %[2]q, certificate-authority-data: %[4]s}
users:
- name: %[3]q
  user: {client-certificate-data: %[5]s, client-key-data: %[6]s}
contexts:
- name: %[1]q
  context: {cluster: %[1]q, user: %[3]q}
current-context: %[1]q
`, cluster, server, user, b64(ca), b64(cert), b64(key))
}

// kubeletConfig is a Node's. Why its values differ from kubeadm's and kubelet's own is in the
// component's differs, which a test compares.
func kubeletConfig(plan topology.Plan, node topology.Machine, limits Limits) string {
	taints := ""
	if node.Role == topology.RoleControlPlane && len(plan.WithRole(topology.RoleWorker)) > 0 {
		taints = "registerWithTaints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]\n"
	}
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /var/lib/kubelet/pki/kubelet.crt
tlsPrivateKeyFile: /var/lib/kubelet/pki/kubelet.key
rotateCertificates: false
clusterDNS: [%s]
clusterDomain: %q
staticPodPath: /etc/kubernetes/manifests
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: %t
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
localStorageCapacityIsolation: false
oomScoreAdj: 0
%s`, plan.Kubernetes.DNS(), plan.Kubernetes.Domain, !limits.CgroupV1, taints)
}

// LessCollecting is an environment variable for the Nodes' Go programs (see the component's
// differs).
const LessCollecting = "GOGC=200"

// patches is the directory of patches that kubeadm applies to its static Pods.
const patches = "/etc/kubernetes/patches"

// lessProbing reduces the readiness probes of a static Pod on an emulated machine.
const lessProbing = `spec:
  containers:
  - name: %s
    readinessProbe: {periodSeconds: 10}
`

// kubeadmConfig is a control plane's. Its differences from kubeadm's defaults are listed as
// those of kubeletConfig are.
func kubeadmConfig(plan topology.Plan, node topology.Machine) string {
	k := plan.Kubernetes
	proxy := ""
	if k.Proxy == "ipvs" {
		proxy = "ipvs: {strictARP: true}\n"
	}
	taints := "[]"
	if len(plan.WithRole(topology.RoleWorker)) > 0 {
		taints = "[{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]"
	}
	name, value, _ := strings.Cut(LessCollecting, "=")
	envs := fmt.Sprintf("\n  extraEnvs: [{name: %s, value: %q}]", name, value)
	endpoint, patched := "", ""
	if plan.Capabilities.Emulated {
		patched = "\npatches: {directory: " + patches + "}"
	}
	if plan.HighlyAvailable() {
		endpoint = "\ncontrolPlaneEndpoint: " + k.API.String()
	}
	return fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: %[1]s, bindPort: %[2]d}
nodeRegistration:
  name: %[3]q
  criSocket: unix:///run/containerd/containerd.sock
  taints: %[9]s%[17]s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: %[4]q%[15]s
kubernetesVersion: %[5]s
encryptionAlgorithm: ECDSA-P256
networking: {podSubnet: %[6]s, serviceSubnet: %[7]s, dnsDomain: %[8]q}
apiServer:
  certSANs: [%[10]s]%[13]s
controllerManager:%[13]s
  extraArgs:
  - {name: leader-elect, value: "%[16]t"}
  - {name: kube-api-qps, value: "500"}
  - {name: kube-api-burst, value: "1000"}
scheduler:%[13]s
  extraArgs:
  - {name: leader-elect, value: "%[16]t"}%[14]s
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %[11]s
clusterCIDR: %[6]s
%[12]sconntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
`, node.Address(), k.API.Port(), node.Name, plan.Lab.String(), k.Version, k.PodCIDR(), k.ServiceCIDR(), k.Domain, taints,
		quoted(apiNames(plan)), strings.TrimSuffix(k.Proxy, "none"), proxy, envs, etcdConfig(plan, envs),
		endpoint, plan.HighlyAvailable(), patched)
}
