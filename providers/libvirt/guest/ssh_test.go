package guest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// pair makes a key.
func pair(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

// server runs the server and gives how to reach it with a key.
func server(t *testing.T) (client func(user string, key ssh.Signer) (*ssh.Client, error), let ssh.Signer) {
	t.Helper()
	dir := t.TempDir()
	host, hostPEM := pair(t)
	let, _ = pair(t)
	for name, text := range map[string]string{"host": hostPEM, "keys": "# a comment\n" + string(ssh.MarshalAuthorizedKey(let.PublicKey()))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := serverConfig(filepath.Join(dir, "keys"), filepath.Join(dir, "host"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go Serve(l, config, io.Discard)
	return func(user string, key ssh.Signer) (*ssh.Client, error) {
		return ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
			HostKeyCallback: ssh.FixedHostKey(host.PublicKey()), Timeout: 10 * time.Second})
	}, let
}

func TestLetsInRootWithItsKey(t *testing.T) {
	client, let := server(t)
	other, _ := pair(t)
	for name, c := range map[string]struct {
		user string
		key  ssh.Signer
		in   bool
	}{"root": {"root", let, true}, "another user": {"admin", let, false}, "another key": {"root", other, false}} {
		conn, err := client(c.user, c.key)
		if (err == nil) != c.in {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// Streams, exit status and environment of a program go through.
func TestRuns(t *testing.T) {
	client, let := server(t)
	conn, err := client("root", let)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, said strings.Builder
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("asked"), &out, &said
	err = s.Run(`cat; echo "$HOME" >&2; exit 7`)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 7 || out.String() != "asked" || said.String() != "/root\n" {
		t.Errorf("status %v, stdout %q, stderr %q", err, out.String(), said.String())
	}
	s, err = conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run("kill -TERM $$"); !errors.As(err, &exit) || exit.ExitStatus() != 128+15 {
		t.Errorf("a program that a signal ended: %v", err)
	}
	if err := s.Run("true"); err == nil {
		t.Error("a session runs two programs")
	}
}

// What a client started ends with the client.
func TestEndsWithItsClient(t *testing.T) {
	client, let := server(t)
	conn, err := client("root", let)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("echo $$; sleep 86391 & wait"); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	n, err := out.Read(line)
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil || convErr != nil {
		t.Fatalf("%q (%v)", line[:n], err)
	}
	conn.Close()
	for deadline := time.Now().Add(10 * time.Second); unix.Kill(-pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process group %d goes on", pid)
		}
	}
}

func TestTerminal(t *testing.T) {
	if _, err := os.Stat("/dev/pts/ptmx"); err != nil {
		t.Skip("needs pseudo-terminals: ", err)
	}
	client, let := server(t)
	conn, err := client("root", let)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("dumb", 33, 77, ssh.TerminalModes{}); err != nil {
		t.Skip("no pseudo-terminal to be had: ", err)
	}
	out, err := s.CombinedOutput("stty size; tty; echo $TERM")
	if err != nil || !strings.HasPrefix(string(out), "33 77\r\n/dev/pts/") || !strings.HasSuffix(string(out), "dumb\r\n") {
		t.Errorf("%q (%v)", out, err)
	}
}

func TestUnixSockets(t *testing.T) {
	client, let := server(t)
	conn, err := client("root", let)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		text, _ := io.ReadAll(c) // until the client says that it is done
		io.WriteString(c, "got "+string(text))
	}()
	c, err := conn.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "hello")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if text, err := io.ReadAll(c); err != nil || string(text) != "got hello" {
		t.Errorf("%q (%v)", text, err)
	}
	if _, err := conn.Dial("unix", path+"-not"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a socket that is not there: %v", err)
	}
}
