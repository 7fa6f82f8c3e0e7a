// Package pid1 is the first process of a machine made of namespaces (a Node of the netns
// provider, an outside host of any provider), and what PID 1 of a virtual machine has in common
// with it (Supervise). It prepares the machine's /proc/sys and cgroups, starts the services of
// ServicesFile, restarts those that exit, reloads that file on SIGHUP, writes StatusFile, and
// reaps orphans. It knows nothing of labs and reads no other file.
package pid1

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ServicesFile is where PID 1 reads its services, in the machine.
const ServicesFile = "/etc/netlab/services.json"

// Service is a program that PID 1 keeps running.
type Service struct {
	Name  string   `json:"name"`
	Argv  []string `json:"argv"`
	Env   []string `json:"env,omitempty"`
	Log   string   `json:"log"`             // appended to
	After string   `json:"after,omitempty"` // a unix socket that must accept connections first
	// AfterURL is an https URL, of a server with a certificate of the CA in the file CA, that
	// must answer 200 first.
	AfterURL string `json:"afterURL,omitempty"`
	CA       string `json:"ca,omitempty"`
	// Cgroup runs the service in a child cgroup of its name, in the hierarchy that accounts CPU
	// time.
	Cgroup bool `json:"cgroup,omitempty"`
	// Config is a hash of the files that the service reads: a reload with a different hash restarts it.
	Config string `json:"config,omitempty"`
}

// Main is PID 1. It returns an exit status after a signal to stop, or if preparing the machine
// fails. With an argument Bounding it keeps only those capabilities once the machine is prepared.
func Main(args []string, stderr io.Writer) int {
	if os.Getpid() != 1 {
		fmt.Fprintln(stderr, "error: netlab init runs only as PID 1 of a machine of namespaces")
		return 2
	}
	if err := run(args, stderr); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func run(args []string, log io.Writer) error {
	services, hash, err := readServices()
	if err != nil {
		return err
	}
	if err := errors.Join(guardSysctls(), DelegateCgroups()); err != nil {
		return err
	}
	if set, confined := bounding(args); confined {
		if err := confine(set); err != nil {
			return err
		}
	}
	// It is idle most of the time, and every machine runs one: prefer low memory over speed.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	s := newSupervisor(log)
	s.hash, s.status = hash, StatusFile
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	return s.run(services, reload)
}

// ReadServices reads the services that the provider wrote to ServicesFile.
func ReadServices() ([]Service, error) {
	services, _, err := readServices()
	return services, err
}

func readServices() ([]Service, string, error) {
	data, err := os.ReadFile(ServicesFile)
	if err != nil {
		return nil, "", err
	}
	var services []Service
	if err := json.Unmarshal(data, &services); err != nil {
		return nil, "", fmt.Errorf("%s: %w", ServicesFile, err)
	}
	return services, Hash(data), nil
}

// Supervise is the main loop of a PID 1: it keeps services running and reaps orphans. It
// returns after a signal to stop. It reloads nothing and writes no status.
func Supervise(log io.Writer, services []Service) error {
	return newSupervisor(log).run(services, nil)
}

// Become waits for the service's After and AfterURL and then executes the service in place of this
// process, under another PID 1 that restarts and logs it. It returns only with an error.
func (s Service) Become() error {
	await(s.After)
	awaitURL(s.AfterURL, s.CA)
	err := unix.Exec(s.Argv[0], s.Argv, append(os.Environ(), s.Env...))
	return fmt.Errorf("%s: %w", s.Argv[0], err)
}

// await returns once a unix socket accepts connections. It polls often, as this delays the start
// of every Node.
func await(socket string) {
	for socket != "" {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// urlPause is the pause between two requests to a server that is not ready: each request takes CPU
// time from its start.
const urlPause = time.Second

// awaitURL returns once a server responds with 200, or immediately if the CA cannot be read.
func awaitURL(url, ca string) {
	if url == "" {
		return
	}
	pem, err := os.ReadFile(ca)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		return
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	for ; ; time.Sleep(urlPause) {
		answer, err := client.Get(url)
		if err != nil {
			continue
		}
		io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20)) // so that the connection is reused
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
}

// guarded sysctls are not namespaced. kubelet writes them, and an eBPF dataplane the last two. The
// Node has plain files in their place, with the values that these programs expect to read back.
var guarded = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",

	"kernel/unprivileged_bpf_disabled": "1",
	"kernel/timer_migration":           "0",
}

// guardSysctls makes /proc/sys read-only except for net, which is namespaced.
func guardSysctls() error {
	steps := []struct {
		source, target string
		flags          uintptr
	}{
		{"/proc/sys/net", "/proc/sys/net", unix.MS_BIND},
		{"/proc/sys", "/proc/sys", unix.MS_BIND | unix.MS_REC},
		{"", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
	}
	for _, s := range steps {
		if err := unix.Mount(s.source, s.target, "", s.flags, ""); err != nil {
			return fmt.Errorf("protect %s: %w", s.target, err)
		}
	}
	dir := "/run/netlab/sysctl"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, value := range guarded {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); err != nil {
			continue // not present in this kernel
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("protect %s: %w", target, err)
		}
	}
	return nil
}

// DelegateCgroups enables the controllers of a cgroup v2 subtree; its root must have no processes
// then. On v1 it does nothing.
func DelegateCgroups() error {
	const root = "/sys/fs/cgroup"
	controllers, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return nil // v1
	}
	own := root + "/init"
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(own+"/cgroup.procs", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("move PID 1 out of the Node's root cgroup: %w", err)
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("enable the cgroup controller %s: %w", c, err)
		}
	}
	return nil
}
