package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers"
)

// saved: a snapshot of a lab of namespaces holds the disks of all Nodes, and with them the cluster.
// Whatever kills save or restore, the lab and its snapshots are whole.
func (b *lab) saved(t *testing.T) {
	b.up(t)
	b.exec(t, "w1", "echo before >/var/lib/it")
	b.run(t, 0, "snapshot", "save", b.name, "fresh")
	b.run(t, 0, "status", b.name)
	if _, stderr := b.output(t, 2, "snapshot", "save", b.name, "fresh"); !strings.Contains(stderr, `already has a snapshot "fresh"`) {
		t.Errorf("a second save says %q", stderr)
	}
	if _, stderr := b.output(t, 2, "snapshot", "restore", b.name, "none"); !strings.Contains(stderr, `has no snapshot "none"`) {
		t.Errorf("restore of none says %q", stderr)
	}

	b.exec(t, "w1", "echo after >/var/lib/it")
	b.kubectl(t, "create", "configmap", "meanwhile")
	b.kubectl(t, "-n", "metallb-system", "delete", "ipaddresspool", "lab")
	meanwhile := func() bool {
		return b.command("kubectl", b.name, "--", "get", "configmap", "meanwhile").Run() == nil
	}

	t.Run("save is killed", func(t *testing.T) {
		b.killedAt(t, "snapshots/.saving/nodes/w*/containerd", "snapshot", "save", b.name, "killed")
		b.up(t) // a lab that was left frozen continues
		if !meanwhile() || b.exec(t, "w1", "cat /var/lib/it") != "after\n" {
			t.Error("the lab is not what it was")
		}
		b.kubectl(t, "-n", "metallb-system", "delete", "ipaddresspool", "lab")
	})
	t.Run("restore is killed", func(t *testing.T) {
		b.killedAt(t, "nodes.next/w*", "snapshot", "restore", b.name, "fresh")
		if b.exec(t, "w1", "cat /var/lib/it") != "after\n" {
			t.Error("the disks are not what they were")
		}
		b.killedAt(t, "nodes.next/w1/machine.json", "snapshot", "restore", b.name, "fresh")
	})

	b.run(t, 0, "snapshot", "restore", b.name, "fresh")
	b.run(t, 0, "status", b.name)
	if meanwhile() {
		t.Error("the cluster has what was created after the snapshot")
	}
	if is := b.exec(t, "w1", "cat /var/lib/it"); is != "before\n" {
		t.Errorf("the disk of w1 has %q", is)
	}
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("up after restore says %q", out)
	}
	b.passes(t)
	for _, left := range []string{"nodes.next", "snapshots/.saving"} {
		if _, err := os.Stat(b.path(left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	var all []providers.Snapshot
	if err := json.Unmarshal([]byte(b.run(t, 0, "snapshot", "list", b.name, "-o", "json")), &all); err != nil || len(all) == 0 || all[0].Name != "fresh" || all[0].Bytes < 10<<20 {
		t.Errorf("snapshots: %+v (%v)", all, err)
	}
}

// killedAt kills a command when a file appears below the lab's state directory; a command that ends
// sooner was quicker.
func (b *lab) killedAt(t *testing.T, file string, args ...string) {
	t.Helper()
	cmd := b.command(args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	done := false
	until(t, file, func() bool {
		select {
		case <-ended:
			done = true
		default:
		}
		found, _ := filepath.Glob(b.path(file))
		return done || len(found) > 0
	})
	if done {
		t.Logf("%s ended before %s was seen", strings.Join(args, " "), file)
		return
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
}
