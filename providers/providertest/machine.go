package providertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// machine: a command runs in the requested machine and sees the NICs and
// routes of the plan.
func (l *lab) machine(t *testing.T, m topology.Machine) {
	machine := l.running.Machines[m.Name]
	if out, err := command.Run(machine.Command(t.Context(), "hostname")); err != nil || string(out) != m.Name+"\n" {
		t.Errorf("hostname is %q (%v)", out, err)
	}
	nics(t, machine, m)
	routes(t, machine, m)
	streams(t, machine)
	ends(t, machine)
	socket := "/run/containerd/containerd.sock"
	if m.Kind == topology.KindHost {
		socket = "/run/netlab/agent.sock"
	}
	l.dial(t, machine, socket)
	if logs, err := filepath.Glob(machine.Logs() + "*"); err != nil || len(logs) == 0 {
		t.Errorf("nothing at its logs' place %s (%v)", machine.Logs(), err)
	}
}

// nics compares `ip addr` with the plan: name, MAC, MTU and address of every NIC, and
// no other NIC.
func nics(t *testing.T, machine providers.Machine, m topology.Machine) {
	out, err := command.Run(machine.Command(t.Context(), "ip", "-json", "addr", "show"))
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		Name      string `json:"ifname"`
		MAC       string `json:"address"`
		MTU       int    `json:"mtu"`
		Flags     []string
		Addresses []struct {
			Family string
			Local  string
			Length int `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		t.Fatalf("ip says %s: %v", out, err)
	}
	var got, want []string
	for _, link := range links {
		if !strings.HasPrefix(link.Name, "eth") {
			continue
		}
		text := fmt.Sprintf("%s %s mtu %d up %t", link.Name, link.MAC, link.MTU, slices.Contains(link.Flags, "LOWER_UP"))
		for _, a := range link.Addresses {
			if a.Family == "inet" {
				text += fmt.Sprintf(" %s/%d", a.Local, a.Length)
			}
		}
		got = append(got, text)
	}
	for _, nic := range m.NICs {
		want = append(want, fmt.Sprintf("%s %s mtu %d up true %s", nic.Name, nic.MAC, nic.MTU, nic.Address()))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("NICs are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// routes: those of the plan exist, and none leads out of the lab.
func routes(t *testing.T, machine providers.Machine, m topology.Machine) {
	out, err := command.Run(machine.Command(t.Context(), "ip", "-4", "route", "show"))
	if err != nil {
		t.Fatal(err)
	}
	planned := false
	for _, r := range m.Routes {
		to := r.To.String()
		if r.To.Bits() == 0 {
			to, planned = "default", true
		}
		if want := to + " via " + r.Via.String() + " "; !strings.Contains(string(out), want) {
			t.Errorf("no route %sin\n%s", want, out)
		}
	}
	if !planned && strings.Contains(string(out), "default") {
		t.Errorf("a default route that is not in the plan:\n%s", out)
	}
}

// streams: standard input, both outputs and the exit status are passed on.
func streams(t *testing.T, machine providers.Machine) {
	cmd := machine.Command(t.Context(), "sh", "-c", "cat; echo told >&2; exit 7")
	cmd.Stdin = strings.NewReader("asked")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("a command that exits with 7 gives %v", err)
	}
	if stdout.String() != "asked" || stderr.String() != "told\n" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
}

// ends: a command whose context is done is killed in the machine too.
func ends(t *testing.T, machine providers.Machine) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const long = "86399.5"
	cmd := machine.Command(ctx, "sh", "-c", "echo begun; exec sleep "+long)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(stdout).ReadString('\n'); said != "begun\n" {
		t.Errorf("a command said %q (%v)", said, err)
	}
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("a command outlives its context")
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		// The bracket keeps grep from finding its own command line.
		err := machine.Command(t.Context(), "sh", "-c", `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -q "[s]leep `+long+`"`).Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the command still runs in the machine (%v)", err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *lab) dial(t *testing.T, machine providers.Machine, socket string) {
	ctx, cancel := context.WithTimeout(t.Context(), l.limit())
	defer cancel()
	conn, err := machine.Dial(ctx, socket)
	if err != nil {
		t.Errorf("dial %s: %v", socket, err)
		return
	}
	conn.Close()
	if conn, err := machine.Dial(ctx, socket+".none"); err == nil {
		conn.Close()
		t.Error("a socket that does not exist answers")
	}
}

// kubeconfig: it works from this machine, over a loopback port.
func (l *lab) kubeconfig(t *testing.T) {
	config, err := l.running.Config()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("https://127.0.0.1:%d", l.running.APIPort); config.Host != want {
		t.Errorf("server is %s, want %s", config.Host, want)
	}
	client, err := l.running.Client()
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.GitVersion != l.plan.Kubernetes.Version {
		t.Errorf("the API server is %s, want %s", version.GitVersion, l.plan.Kubernetes.Version)
	}
	// A client without a certificate is anonymous.
	config.CertData, config.KeyData = nil, nil
	stranger, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		t.Errorf("a stranger that lists Nodes gets %v", err)
	}
}
