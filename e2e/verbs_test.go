package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// verbs: the small commands on a lab that runs.
func (b *lab) verbs(t *testing.T) {
	b.up(t)
	if out := b.run(t, 0, "exec", b.name, "client", "--", "ip", "-4", "-br", "addr", "show", "eth0"); !strings.Contains(out, "172.30.0.100/24") {
		t.Errorf("exec client: %q", out)
	}
	if out := b.run(t, 0, "exec", b.name, "w1", "--", "hostname"); out != "w1\n" {
		t.Errorf("exec w1: %q", out)
	}
	b.run(t, 7, "exec", b.name, "w1", "--", "sh", "-c", "exit 7")
	b.run(t, 2, "exec", b.name, "nobody", "--", "true")
	// The lab's addresses are nowhere but in the lab.
	if out, err := exec.Command("ip", "route", "get", "172.30.0.10").Output(); err == nil && strings.Contains(string(out), "netlab") {
		t.Errorf("this machine has a route into the lab: %s", out)
	}
	if out := b.kubectl(t, "get", "nodes", "-o", "name"); out != "node/cp\nnode/w1\nnode/w2\n" {
		t.Errorf("kubectl get nodes: %q", out)
	}
	b.run(t, 1, "kubectl", b.name, "--", "get", "pod", "nobody")
	b.kubeconfig(t)

	var s struct {
		Lab, Phase string
		Machines   []struct {
			Name    string
			Running bool
		}
		Problems []string
	}
	if err := json.Unmarshal([]byte(b.run(t, 0, "status", b.name, "-o", "json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Lab != b.name || s.Phase != "up" || len(s.Problems) > 0 || len(s.Machines) != 6 {
		t.Errorf("status: %+v", s)
	}
	for _, m := range s.Machines {
		if !m.Running {
			t.Errorf("status: %s does not run", m.Name)
		}
	}
	if out := b.run(t, 0, "list"); !strings.Contains(out, b.name+" ") || !strings.Contains(out, b.file) {
		t.Errorf("list: %q", out)
	}
	if out := b.run(t, 0, "logs", b.name, "w1"); !strings.Contains(out, "==> w1/kubelet.log <==") {
		t.Errorf("logs of w1 without kubelet's: %.200q", out)
	}
	b.load(t)
}

func (b *lab) kubeconfig(t *testing.T) {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(b.run(t, 0, "kubeconfig", b.name)))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(config.Host, "https://127.0.0.1:") {
		t.Errorf("kubeconfig's server is %s", config.Host)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 3 {
		t.Errorf("%d Nodes by the printed kubeconfig (%v)", len(nodes.Items), err)
	}
}
