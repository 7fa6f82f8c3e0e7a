package residue

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	before := Snapshot{
		"link":   {"lo": "up", "eth0": "up", "old": ""},
		"sysctl": {"vm/overcommit_memory": "0", "net/ipv4/conf/eth9/forwarding": "1"},
	}
	after := Snapshot{
		"link":    {"lo": "up", "eth0": "down", "br0": "bridge"},
		"sysctl":  {"vm/overcommit_memory": "1", "net/netfilter/nf_log/0": "NONE"},
		"process": {"7: sleep": ""},
		"cgroup":  {"/cg/netlab": "", "/cg/netlab/a": "", "/cg/netlab/a/b": ""},
	}
	want := []string{
		"left: cgroup /cg/netlab",
		"left: link br0 (bridge)",
		"changed: link eth0: was up, is down",
		"lost: link old",
		"left: process 7: sleep",
		"changed: sysctl vm/overcommit_memory: was 0, is 1",
	}
	if got := Diff(before, after); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := Diff(before, before); len(got) != 0 {
		t.Errorf("a snapshot differs from itself: %q", got)
	}
}

// Diff reports every kind of object that a lab may leave; not sysctls, which are added and
// removed with other objects.
func TestDiffSeesEveryKind(t *testing.T) {
	for kind := range readers() {
		without, with := Snapshot{kind: {}}, Snapshot{kind: {"x": "1"}}
		want := []string{"left: " + kind + " x (1)", "lost: " + kind + " x (1)"}
		if kind == "sysctl" {
			want = nil
		}
		if got := append(Diff(without, with), Diff(with, without)...); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

// What a process leaves is seen: itself, and nothing more of the caller's.
func TestTakeSeesProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: reads the machine's firewall")
	}
	before, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[string]int{"link": 1, "mount": 3, "process": 0, "sysctl": 300, "file in /run": 1} {
		if len(before[kind]) < least {
			t.Errorf("only %d of kind %s", len(before[kind]), kind)
		}
	}
	sleep := exec.Command("sleep", "60.25")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	after, err := Take()
	sleep.Process.Kill()
	sleep.Wait()
	if err != nil {
		t.Fatal(err)
	}
	seen := slices.ContainsFunc(Diff(before, after), func(line string) bool {
		return strings.HasPrefix(line, "left: process ") && strings.HasSuffix(line, ": sleep 60.25")
	})
	if !seen {
		t.Errorf("sleep is missing in %q", Diff(before, after))
	}
	for name := range after["process"] {
		if strings.Contains(name, filepath.Base(os.Args[0])) {
			t.Errorf("own process is listed: %s", name)
		}
	}
}

// Two reads agree. Other work on the machine may change a sysctl between them, but not
// every time.
func TestSysctlsAreStable(t *testing.T) {
	var diff []string
	for range 5 {
		a, err := sysctls()
		if err != nil {
			t.Fatal(err)
		}
		b, err := sysctls()
		if err != nil {
			t.Fatal(err)
		}
		if diff = Diff(Snapshot{"sysctl": a}, Snapshot{"sysctl": b}); len(diff) == 0 {
			return
		}
	}
	t.Errorf("volatile: %s", strings.Join(diff, "\n"))
}

func TestSiblingGroup(t *testing.T) {
	const own = "9:name=systemd:/\n4:memory:/work/a\n0::/user.slice/session-1.scope\n"
	for group, want := range map[string]bool{
		"/netlab": false, "/netlab/x": false, "/work": false, "/work/a": false, "/work/a/b": false,
		"/work/b": true, "/user.slice/session-2.scope": true, "": false,
	} {
		if got := siblingGroup(own, group); got != want {
			t.Errorf("%q: %v", group, got)
		}
	}
}
