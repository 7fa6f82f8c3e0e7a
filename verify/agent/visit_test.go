package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlab.dev/netlab/internal/unixhttp"
)

// process writes an entry of a proc file system.
func process(t *testing.T, proc, pid, cgroup string, resolver bool) {
	t.Helper()
	etc := filepath.Join(proc, pid, "root/etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, pid, "cgroup"), []byte(cgroup), 0o644); err != nil {
		t.Fatal(err)
	}
	if resolver {
		if err := os.WriteFile(filepath.Join(etc, "resolv.conf"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPodProcess: a Pod's process is found by its cgroup, as either driver names it, and one with a
// resolv.conf is preferred to the pause container.
func TestPodProcess(t *testing.T) {
	proc := t.TempDir()
	process(t, proc, "1", "0::/", true)
	process(t, proc, "10", "0::/kubelet/kubepods/burstable/pod0a-1b/aaa", false)
	process(t, proc, "11", "0::/kubelet/kubepods/burstable/pod0a-1b/bbb", true)
	process(t, proc, "12", "0::/kubelet.slice/kubelet-kubepods-pod0c_1d.slice/cri-containerd-x.scope", false)
	if err := os.WriteFile(filepath.Join(proc, "uptime"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]string{"0a-1b": "11", "0c-1d": "12", "0e-1f": ""} {
		if pid, err := podProcess(proc, uid); pid != want || (err != nil) != (want == "") {
			t.Errorf("a process of %s is %q (%v), want %q", uid, pid, err, want)
		}
	}
}

// TestVisit: an agent in another network namespace sees that one's addresses and resolver, and ends
// with the list that asked for it.
func TestVisit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("namespaces require root")
	}
	theirs := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(theirs, []byte("nameserver 10.9.8.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pod := exec.Command("unshare", "--net", "--mount", "sh", "-c", "mount --bind "+theirs+" /etc/resolv.conf && ip link set lo up && ip address add 10.9.8.7/32 dev lo && exec sleep 60")
	// The signal comes when the thread that started the process ends, and threads end in this
	// test: those of visits.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pod.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pod.Start(); err != nil {
		t.Skip("unshare: ", err)
	}
	defer func() {
		pod.Process.Kill()
		pod.Wait()
	}()
	proc := t.TempDir()
	process(t, proc, "42", "0::/kubepods/podme/x", false)
	if err := os.RemoveAll(filepath.Join(proc, "42/root")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ns", "root"} {
		if err := os.Symlink("/proc/"+strconv.Itoa(pod.Process.Pid)+"/"+name, filepath.Join(proc, "42", name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 { // until it has the address
		if ready, err := exec.Command("nsenter", "--target="+strconv.Itoa(pod.Process.Pid), "--net", "ip", "-brief", "address").Output(); err == nil && strings.Contains(string(ready), "10.9.8.7") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	socket := filepath.Join(t.TempDir(), "s")
	list, err := json.Marshal([]Visit{{Name: "shop/web", UID: "me", IP: "10.9.8.7", Socket: socket}, {Name: "shop/gone", UID: "gone", Socket: socket + "2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asAgent, "1")
	in, ask := io.Pipe()
	var out, said bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- visits(context.Background(), proc, in, &out, &said) }()
	if _, err := ask.Write(list); err != nil {
		t.Fatal(err)
	}
	client := unixhttp.NewSocketClient(socket)
	var own []string
	for limit := time.Now().Add(10 * time.Second); len(own) == 0 && time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if response, err := client.Get("http://agent/addresses"); err == nil {
			json.NewDecoder(response.Body).Decode(&own)
			response.Body.Close()
		}
	}
	if text := strings.Join(own, " "); !strings.Contains(text, "10.9.8.7") || strings.Contains(text, "172.") {
		t.Errorf("the agent's addresses are %q, want those of the Pod; it said %s", text, said.String())
	}
	// The error of a lookup names the nameserver of the Pod.
	question, _ := json.Marshal(Asked{Probes: []Probe{{Kind: DNS, Target: "web.", TimeoutMillis: 200}}})
	response, err := client.Post("http://agent/probe", "application/json", bytes.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answered Answered
	if err := json.NewDecoder(response.Body).Decode(&answered); err != nil || response.StatusCode != http.StatusOK || answered.IP != "10.9.8.7" || !strings.Contains(answered.Results[0].Error, "10.9.8.53") {
		t.Errorf("asked for a name it answers %+v (%v), want the error of the Pod's nameserver", answered, err)
	}
	ask.Close()
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit %d: %s", code, said.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the agents did not end with their list")
	}
	if text := out.String(); !strings.Contains(text, `{"name":"shop/web"}`) || !strings.Contains(text, `"name":"shop/gone","error":"no process of the Pod runs`) {
		t.Errorf("it said %s", text)
	}
	if left, err := os.ReadDir(filepath.Dir(socket)); err != nil || len(left) > 0 {
		t.Errorf("left behind are %v (%v)", left, err)
	}
}
