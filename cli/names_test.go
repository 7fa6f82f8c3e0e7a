package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// insideKey marks the process of this test that runs in separate namespaces.
const insideKey = "NETLAB_TEST_NAMES_INSIDE"

// A LAB argument that is not a lab's name is refused by every verb, and nothing is removed or
// killed. `netlab down ""` once removed the state of every lab: the verbs run in mount, pid
// and network namespaces where they can only harm what the test made.
func TestArgumentsThatAreNoLab(t *testing.T) {
	if os.Getenv(insideKey) != "" {
		testArgumentsInside(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("requires root to make namespaces")
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestArgumentsThatAreNoLab$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), insideKey+"=1", "NETLAB_STATE_DIR="+filepath.Join(dir, "state"),
		"NETLAB_CACHE_DIR="+filepath.Join(dir, "cache"), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "HOME="+dir, "DOCKER_HOST=unix:///nowhere")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestArgumentsThatAreNoLab") {
		t.Errorf("in separate namespaces: %v\n%s", err, out)
	}
}

func testArgumentsInside(t *testing.T) {
	if os.Getpid() != 1 {
		t.Fatal("this process is not in a separate pid namespace")
	}
	state := os.Getenv("NETLAB_STATE_DIR")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	for _, dir := range []string{state, "/run", "/sys/fs/cgroup"} {
		must(unix.Mount("test", dir, "tmpfs", 0, ""))
	}
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	// A hierarchy whose root is the test's own cgroup: the labs in it are not the machine's.
	hierarchy := filepath.Join(state, "..", "cgroup")
	own := filepath.Join(hierarchy, "nlt-names-"+filepath.Base(filepath.Dir(filepath.Dir(state)))) // two runs at once have two
	must(errors.Join(os.Mkdir(hierarchy, 0o755), unix.Mount("cgroup", hierarchy, "cgroup2", 0, ""), os.MkdirAll(own, 0o755)))
	must(errors.Join(os.Mkdir("/sys/fs/cgroup/unified", 0o755), unix.Mount(own, "/sys/fs/cgroup/unified", "", unix.MS_BIND, "")))
	must(unix.Unmount(hierarchy, unix.MNT_DETACH))
	t.Cleanup(func() { // the cgroup of the test, by the hierarchy once more
		must(errors.Join(unix.Unmount("/sys/fs/cgroup/unified", 0), unix.Mount("cgroup", hierarchy, "cgroup2", 0, "")))
		must(errors.Join(os.Remove(own), unix.Unmount(hierarchy, 0)))
	})

	root := providers.DefaultRoot()
	sleeps, ended := map[labs.Name]*exec.Cmd{}, map[labs.Name]chan struct{}{}
	for _, text := range []string{"one", "two"} {
		lab := labs.MustName(text)
		cp := topology.Machine{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}
		must(root.Write(providers.State{Plan: topology.Plan{Lab: lab, Provider: "netns", Machines: []topology.Machine{cp}}, Phase: providers.PhaseUp}))
		must(os.WriteFile(filepath.Join(root.Dir(lab), "ca.key"), []byte("secret"), 0o600))
		sleep := exec.Command("sleep", "600")
		must(local.Enrol(lab, sleep))
		must(sleep.Start())
		done := make(chan struct{})
		go func() { sleep.Wait(); close(done) }()
		sleeps[lab], ended[lab] = sleep, done
	}
	there := func(text string) bool {
		lab := labs.MustName(text)
		state, err := root.Read(lab)
		_, lost := os.Stat(filepath.Join(root.Dir(lab), "ca.key"))
		return err == nil && state.Phase == providers.PhaseUp && lost == nil && slices.Contains(local.Processes(lab), sleeps[lab].Process.Pid)
	}
	// A process joins its lab's cgroup as the first thing that it does.
	for deadline := time.Now().Add(10 * time.Second); !there("one") || !there("two"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the labs are not there to begin with")
		}
	}

	refused := append(slices.Clone(noNames), state)
	for _, verb := range [][]string{
		{"down"}, {"graph"}, {"verify"}, {"status"}, {"kubeconfig"}, {"kubeconfig", "--unmerge"}, {"stop"}, {"start"}, {"logs"},
		{"exec", "LAB", "w1", "true"}, {"shell", "LAB", "w1"}, {"kubectl", "LAB", "get", "pods"}, {"load", "LAB", "image.tar"}, {"trace", "LAB", "client", "echo"},
		{"power", "off", "LAB", "w1"}, {"power", "on", "LAB", "w1"}, {"power", "cycle", "LAB", "w1"}, {"link", "down", "LAB", "w1"}, {"link", "up", "LAB", "w1:eth0"},
		{"snapshot", "save", "LAB", "a"}, {"snapshot", "restore", "LAB", "a"}, {"snapshot", "list", "LAB"},
	} {
		some := refused
		if verb[0] != "down" {
			some = refused[:6]
		}
		for _, bad := range some {
			args := slices.Clone(verb)
			if at := slices.Index(args, "LAB"); at >= 0 {
				args = slices.Replace(args, at, at+1, "--", bad)
			} else {
				args = append(args, "--", bad)
			}
			var out, stderr bytes.Buffer
			code := Main(args, strings.NewReader(""), &out, &stderr)
			if want := fmt.Sprintf("error: lab name %q ", bad); code != exitFault || out.Len() > 0 || !strings.HasPrefix(stderr.String(), want) || !strings.Contains(stderr.String(), "\nhint: ") {
				t.Errorf("netlab %q: exit code %d\n%s%s", args, code, out.String(), stderr.String())
			}
			if !there("one") || !there("two") {
				t.Fatalf("netlab %q removed something", args)
			}
		}
	}

	// What is refused above would have been removed: a lab's name does it.
	var out, stderr bytes.Buffer
	if code := Main([]string{"down", "one"}, strings.NewReader(""), &out, &stderr); code != exitOK || there("one") || !there("two") {
		t.Errorf("netlab down one: exit code %d, one is there: %t, two is there: %t\n%s%s", code, there("one"), there("two"), out.String(), stderr.String())
	}
	// What is not a lab's goes with no verb, whatever its name and whoever carries a lab's label.
	photo := filepath.Join(state, "photos", "cat.jpg")
	must(os.Mkdir(filepath.Dir(photo), 0o755))
	must(os.WriteFile(photo, []byte("a cat"), 0o644))
	stranger := exec.Command("sleep", "600")
	stranger.Env = append(os.Environ(), local.LabelKey+"=photos")
	must(stranger.Start())
	for _, args := range [][]string{{"list"}, {"down", "photos"}, {"down", "--all"}} {
		var out, stderr bytes.Buffer
		code := Main(args, strings.NewReader(""), &out, &stderr)
		if _, err := os.Stat(photo); code != exitOK || err != nil || args[0] == "list" && strings.Contains(out.String(), "photos") || stranger.Process.Signal(syscall.Signal(0)) != nil {
			t.Errorf("netlab %q: exit code %d, the user's file: %v\n%s%s", args, code, err, out.String(), stderr.String())
		}
	}
	if there("two") {
		t.Error("netlab down --all left lab two")
	}
	select {
	case <-ended[labs.MustName("one")]:
	case <-time.After(5 * time.Second):
		t.Error("a process of lab one survived it")
	}
}

// noNames are texts that are not lab names.
var noNames = []string{"", ".", "..", "/", "a/b", "../one", "one/..", "./one", "/etc", "A", "One", "-a", "one-", "one.two", "*", "o*", " one", "one\n", "a\x00b", "öne",
	strings.Repeat("a", 33)}
