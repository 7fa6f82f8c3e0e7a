package netns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology"
)

func TestConformance(t *testing.T) {
	providertest.NeedLabs(t)
	was := mapCount(t)
	defer func() {
		if is := mapCount(t); is != was {
			t.Errorf("vm.max_map_count of the machine was %s and stays %s", was, is)
		}
	}()
	providertest.Run(t, providertest.Suite{
		Provider: "netns",
		Inside:   confined,
		New:      func() providers.Provider { return Provider{} },
		Software: providertest.SoftwareOf(t, providertest.Netlab(t)),
		Kill: func(ctx context.Context, lab labs.Name, dir, name string) error {
			n := nodeOf(lab, dir, topology.Machine{Name: name})
			pid := n.PID()
			if pid == 0 {
				return fmt.Errorf("node %s is not running", name)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return err
			}
			for n.PID() != 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
	})
}

// tryOut has root in a Node reach for the machine, and prints what it reaches: its disk, of major $1
// and minor $2, and files that end it. As a privileged Pod may, it sets a sysctl in a /proc of its own.
const tryOut = `
mknod /tmp/disk b "$1" "$2" || echo "no device node is made: images have them"
[ "$(head -c 1 /tmp/disk 2>/dev/null | wc -c)" = 0 ] || echo "the disk is read"
for f in /proc/sysrq-trigger /proc/kcore; do
	[ ! -e $f ] || [ -c $f ] || echo "$f is not masked"
done
for f in null zero random kmsg; do
	{ : </dev/$f; } 2>/tmp/why || echo "/dev/$f: $(cat /tmp/why)"
done
mkdir -p /tmp/proc
mount -t proc proc /tmp/proc && echo 65531 >/tmp/proc/sys/vm/max_map_count; umount /tmp/proc`

// confined: what a Node and a host lack, and the limits of a lab.
func confined(t *testing.T, in providertest.Lab) {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	major, minor := strconv.Itoa(int(unix.Major(st.Dev))), strconv.Itoa(int(unix.Minor(st.Dev)))
	out, err := command.Run(in.Running.Machines["a"].Command(t.Context(), "sh", "-c", tryOut, "sh", major, minor))
	if err != nil || len(out) > 0 {
		t.Errorf("a Node: %s (%v)", out, err)
	}
	bounding := func(pid int) uint64 {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(data), "CapBnd:\t")
		set, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	if set := bounding(in.Running.Machines["a"].(local.Machine).PID); set&(1<<unix.CAP_SYS_TIME|1<<unix.CAP_SYS_RAWIO) != 0 || set&(1<<unix.CAP_NET_ADMIN) == 0 {
		t.Errorf("a Node has the capabilities %x", set)
	}
	router := local.Container{Lab: in.Plan.Lab, Name: "router", Dir: filepath.Join(in.State, in.Plan.Lab.Label(), "hosts", "router")}
	if set := bounding(router.PID()); set&(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_SYS_MODULE|1<<unix.CAP_MKNOD|1<<unix.CAP_SYS_PTRACE) != 0 || set&(1<<unix.CAP_NET_ADMIN) == 0 {
		t.Errorf("a router has the capabilities %x", set)
	}
	limits, err := filepath.Glob("/sys/fs/cgroup/*" + local.CgroupOf(in.Plan.Lab, "") + "/pids.max")
	if own, err := filepath.Glob("/sys/fs/cgroup" + local.CgroupOf(in.Plan.Lab, "") + "/pids.max"); err == nil {
		limits = append(limits, own...)
	}
	if data, readErr := os.ReadFile(strings.Join(limits, "")); err != nil || readErr != nil || strings.TrimSpace(string(data)) == "max" {
		t.Errorf("%v limit processes to %s (%v)", limits, data, readErr)
	}
}

func mapCount(t *testing.T) string {
	data, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
