package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// edit is one edited field of the quickstart lab that a running cluster cannot change.
type edit struct{ name, old, new, because string }

func edits() []edit {
	return []edit{
		{"mtu", "172.30.0.0/24, mtu: 1500", "172.30.0.0/24, mtu: 1400", "control plane cp: networks.lan.mtu changes from 1500 to 1400"},
		{"networks", "role: control-plane, networks: [lan]", "role: control-plane, networks: [lan, storage]", "control plane cp: networks.storage is set to eth1 172.31.0.10/24"},
		{"proxy", "provider: netns", "provider: netns\nkubernetes: {proxy: iptables}", "kubernetes.proxy changes from nftables to iptables"},
	}
}

// edited: one edited field recreates the cluster. plan and up say which it is and what of the
// user's goes, a terminal is asked, and without a yes the lab stays as it was. In the end the lab
// is what all the edits together say; NETLAB_TEST_GENERATED makes each of them alone too.
func (b *lab) edited(t *testing.T) {
	b.up(t)
	before, text := b.boots(t, "cp", "w1", "w2"), b.text
	user := func() {
		b.kubectl(t, "create", "namespace", "nlt-shop")
		b.kubectl(t, "-n", "nlt-shop", "create", "deployment", "web", "--image=registry.k8s.io/pause:3.10.2")
	}
	user()
	loses := []string{"delete 1 Namespace: nlt-shop", "delete 1 workload: Deployment nlt-shop/web"}
	all := text
	for _, e := range edits() {
		t.Run(e.name, func(t *testing.T) {
			b.write(t, replaced(t, text, e.old, e.new))
			b.says(t, b.run(t, 0, "plan", b.file), append(loses, "recreate the cluster: "+e.because)...)
			_, progress := b.output(t, 2, "up", b.file)
			b.says(t, progress, append(loses, "recreate the cluster: "+e.because, "requires --remake")...)
		})
		all = replaced(t, all, e.old, e.new)
	}
	t.Run("no", func(t *testing.T) {
		shown, code := b.terminal(t, "n\n", "up", b.file)
		b.says(t, shown, append(loses, "recreate the cluster: kubernetes.proxy", "1 Namespace; 1 workload? [y/N]", "requires --remake")...)
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
	})
	if is := b.boots(t, "cp", "w1", "w2"); is["cp"] != before["cp"] || is["w1"] != before["w1"] {
		t.Fatalf("Nodes were started again without a yes: %v, then %v", before, is)
	}
	if len(generatedSeeds(t)) > 1 {
		for _, e := range edits() {
			b.remade(t, replaced(t, text, e.old, e.new))
			b.remade(t, text)
			user()
		}
	}
	b.remade(t, all)
	if out := b.kubectl(t, "get", "namespaces"); strings.Contains(out, "nlt-shop") {
		t.Errorf("a recreated cluster has\n%s", out)
	}
	if out := b.exec(t, "cp", "cat /sys/class/net/eth0/mtu; ip -br addr show eth1"); !strings.HasPrefix(out, "1400\n") || !strings.Contains(out, "172.31.0.10/24") {
		t.Errorf("the control plane has %s", out)
	}
}

// remade recreates the cluster with a yes on a terminal; up verifies it.
func (b *lab) remade(t *testing.T, text string) {
	t.Helper()
	began := time.Now()
	b.text = text
	b.write(t, text)
	shown, code := b.terminal(t, "y\n", "up", b.file)
	if code != 0 {
		t.Fatalf("up exits with %d\n%s", code, shown)
	}
	t.Logf("%5.1f s  recreated", time.Since(began).Seconds())
}

func (b *lab) says(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// terminal runs netlab on a terminal where a question is answered, and returns what that shows.
func (l *labs) terminal(t *testing.T, answer string, args ...string) (shown string, code int) {
	t.Helper()
	cmd := l.command(args...)
	control, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	limit := time.AfterFunc(10*time.Minute, func() { cmd.Process.Signal(os.Interrupt) })
	defer limit.Stop()
	var out strings.Builder
	buf := make([]byte, 4096)
	for asked := false; ; {
		n, err := control.Read(buf)
		out.Write(buf[:n])
		if !asked && strings.Contains(out.String(), "[y/N] ") {
			asked = true
			if _, err := control.WriteString(answer); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil { // the terminal is closed when the program ends
			break
		}
	}
	err = cmd.Wait()
	if _, exits := err.(*exec.ExitError); err != nil && !exits {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
