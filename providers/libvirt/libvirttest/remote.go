package libvirttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/providertest"
)

// The veth pair between this machine and the remote one, which has no other link. Its addresses are
// reserved for benchmarks (RFC 2544); its MTU fits a network of 1500 bytes plus VXLAN.
const (
	wire        = "nlt-wire"
	wireMTU     = "1550"
	ownEnd      = "198.18.77.1/30"
	itsEnd      = "198.18.77.2/30"
	itself      = "198.18.77.2"
	remoteState = "/var/lib/netlab-elsewhere"
)

// RemoteHost is a remote machine with a hypervisor: a libvirtd and an sshd in separate network and
// mount namespaces, at the end of a veth pair.
type RemoteHost struct {
	Images     string // the actual directory of its storage pools
	KnownHosts string // a known_hosts file with its key
	HostKey    ssh.PublicKey
	Key        string // a private key that is authorized for root

	t      testing.TB
	pid    int // a process in its namespaces
	socket string
	dir    string
	sshd   *exec.Cmd
}

// Remote starts such a machine until the test ends. images is the directory of its pools in the lab
// file.
func Remote(t testing.TB, images string) *RemoteHost {
	t.Helper()
	if _, err := exec.LookPath("sshd"); err != nil {
		refuse := t.Skipf
		if providertest.Alone() {
			refuse = t.Fatalf
		}
		refuse("%v: needs Debian's openssh-server", err)
	}
	exec.Command("ip", "link", "del", wire).Run() // left by a killed test
	d, pid := start(t, images)
	dir := t.TempDir()
	f := &RemoteHost{Images: d.Images, t: t, pid: pid, dir: dir, socket: strings.TrimPrefix(d.URI, "qemu:///system?socket="),
		KnownHosts: filepath.Join(dir, "known_hosts"), Key: filepath.Join(dir, "client")}
	f.must(exec.Command("ip", "link", "add", wire, "mtu", wireMTU, "type", "veth", "peer", "name", "wire", "mtu", wireMTU, "netns", strconv.Itoa(pid)))
	t.Cleanup(func() { exec.Command("ip", "link", "del", wire).Run() })
	f.must(exec.Command("ip", "addr", "add", ownEnd, "dev", wire))
	f.must(exec.Command("ip", "link", "set", wire, "up"))
	f.In("ip", "addr", "add", itsEnd, "dev", "wire")
	f.In("ip", "link", "set", "wire", "up")

	f.HostKey = f.newKey("host")
	client := f.newKey("client")
	f.Write("authorized_keys", string(ssh.MarshalAuthorizedKey(client)))
	f.Write("known_hosts", knownhosts.Line([]string{itself}, f.HostKey)+"\n")
	f.Write("sshd_config", "ListenAddress "+itself+":22\nHostKey "+filepath.Join(dir, "host")+"\nAuthorizedKeysFile "+filepath.Join(dir, "authorized_keys")+
		"\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nPrintMotd no\n")
	f.In("mkdir", "-p", "/run/sshd")
	f.StartSSH()
	t.Cleanup(f.StopSSH)
	return f
}

// URI is the URI of the hypervisor, with another key or known_hosts file if one is given.
func (f *RemoteHost) URI(key, known string) string {
	if key == "" {
		key = f.Key
	}
	if known == "" {
		known = f.KnownHosts
	}
	return fmt.Sprintf("qemu+ssh://%s/system?socket=%s&keyfile=%s&known_hosts=%s", itself, f.socket, key, known)
}

// Address is the address of the machine.
func (f *RemoteHost) Address() string { return itself }

// newKey creates a key pair and returns the public key.
func (f *RemoteHost) newKey(name string) ssh.PublicKey {
	f.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, name)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Write(name, string(pem.EncodeToMemory(block)))
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		f.t.Fatal(err)
	}
	return shown
}

// NewKey creates a private key that is authorized nowhere and returns its path.
func (f *RemoteHost) NewKey(name string) (string, ssh.PublicKey) {
	f.t.Helper()
	public := f.newKey(name)
	return filepath.Join(f.dir, name), public
}

// Write writes a file and returns its path.
func (f *RemoteHost) Write(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f *RemoteHost) must(cmd *exec.Cmd) string {
	f.t.Helper()
	out, err := command.Run(cmd)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(out)
}

func (f *RemoteHost) command(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target=" + strconv.Itoa(f.pid), "--net", "--mount", "--"}, argv...)...)
}

// In runs a program on the machine.
func (f *RemoteHost) In(argv ...string) string {
	f.t.Helper()
	return f.must(f.command(argv...))
}

// StartSSH starts the machine's sshd.
func (f *RemoteHost) StartSSH() {
	f.t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		f.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(f.dir, "sshd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	f.sshd = f.command(sshd, "-D", "-e", "-f", filepath.Join(f.dir, "sshd_config"))
	f.sshd.Stdout, f.sshd.Stderr = log, log
	f.sshd.Env = []string{"PATH=" + os.Getenv("PATH")} // without a lab's label
	f.sshd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := f.sshd.Start(); err != nil {
		f.t.Fatal(err)
	}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", itself+":22", time.Second)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			f.t.Fatalf("sshd is not responding: %v\n%s", err, text)
		}
	}
}

// StopSSH stops it and its connections.
func (f *RemoteHost) StopSSH() {
	if f.sshd == nil {
		return
	}
	f.sshd.Process.Signal(unix.SIGTERM)
	f.sshd.Wait()
	f.sshd = nil
}

// Left lists what the machine has of labs: links, namespaces, files, volumes.
func (f *RemoteHost) Left() (left []string) {
	f.t.Helper()
	for line := range strings.Lines(f.In("ip", "-o", "link")) {
		if name := strings.Fields(line)[1]; !strings.HasPrefix(name, "lo:") && !strings.HasPrefix(name, "wire@") {
			left = append(left, "link "+name)
		}
	}
	for _, path := range []string{"/run/netns", remoteState} {
		if out, err := f.command("find", path).Output(); err == nil {
			left = append(left, strings.Fields(string(out))...)
		}
	}
	entries, err := os.ReadDir(f.Images)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Error(err)
	}
	for _, e := range entries {
		left = append(left, "volumes "+e.Name())
	}
	return left
}
