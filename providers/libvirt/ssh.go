package libvirt

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology/fabric"
)

// sshPort is the SSH port of machines.
const sshPort = 22

// handshakeLimit bounds the SSH handshake: an emulated machine that starts a cluster took several
// seconds.
const handshakeLimit = time.Minute

// The files of a lab's ssh directory; a host key is in its machine's directory.
const (
	clientKey  = "id_ed25519"
	knownHosts = "known_hosts"
	hostKey    = "host_key"
)

// keyPair returns the key at a path, as PEM and as a line of a .pub file, and creates it the first
// time.
func keyPair(path string) (private, public string, err error) {
	text, err1 := os.ReadFile(path)
	line, err2 := os.ReadFile(path + ".pub")
	if err1 == nil && err2 == nil {
		return string(text), strings.TrimSpace(string(line)), nil
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(key, "netlab")
	if err != nil {
		return "", "", err
	}
	shown, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	private, public = string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown)))
	err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
		atomicfile.Write(path, []byte(private), 0o600), atomicfile.Write(path+".pub", []byte(public+"\n"), 0o644))
	return private, public, err
}

// writeKnownHosts writes every machine's host key to a known_hosts file.
func writeKnownHosts(dir string, nodes []node) error {
	var b strings.Builder
	for _, n := range nodes {
		_, public, err := keyPair(n.path(hostKey))
		if err != nil {
			return err
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
		if err != nil {
			return err
		}
		b.WriteString(knownhosts.Line([]string{n.machine.Address().String(), n.machine.Name}, key) + "\n")
	}
	if err := os.MkdirAll(filepath.Join(dir, "ssh"), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "ssh", knownHosts), []byte(b.String()), 0o644)
}

// dial opens an SSH connection to a machine of a lab, through the lab's fabric. The host
// key must be the one in the machine's seed.
func dial(ctx context.Context, lab labs.Name, dir string, address netip.Addr) (*ssh.Client, error) {
	text, err := os.ReadFile(filepath.Join(dir, "ssh", clientKey))
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.New(filepath.Join(dir, "ssh", knownHosts))
	if err != nil {
		return nil, err
	}
	at := netip.AddrPortFrom(address, sshPort).String()
	conn, err := fabric.Dial(ctx, lab, "", "tcp", at)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	c, channels, requests, err := ssh.NewClientConn(conn, at, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: known, HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ssh root@%s: %w", address, err)
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}

// session keeps one SSH connection to a machine.
type session struct {
	lab     labs.Name
	dir     string
	address netip.Addr
	mu      sync.Mutex
	client  *ssh.Client
}

// open returns the connection, or a new one if it is broken.
func (s *session) open(ctx context.Context, broken *ssh.Client) (*ssh.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && s.client != broken {
		return s.client, nil
	}
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
	client, err := dial(ctx, s.lab, s.dir, s.address)
	if err == nil {
		s.client = client
	}
	return client, err
}

// run runs a short program in a machine; its error includes the program's output.
func (s *session) run(ctx context.Context, argv ...string) error {
	client, err := s.open(ctx, nil)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	if out, err := session.CombinedOutput(shell.Join(argv...)); err != nil {
		return fmt.Errorf("%s on %s: %w: %s", argv[0], s.address, err, out)
	}
	return nil
}

// unix connects to a unix socket of the machine.
func (s *session) unix(ctx context.Context, path string) (net.Conn, error) {
	client, err := s.open(ctx, nil)
	if err != nil {
		return nil, err
	}
	conn, err := dialUnix(ctx, client, path)
	var refused *ssh.OpenChannelError
	if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
		return conn, err
	}
	if client, err = s.open(ctx, client); err != nil {
		return nil, err
	}
	return dialUnix(ctx, client, path)
}

// dialUnix is ssh.Client.Dial for unix sockets, with a context.
func dialUnix(ctx context.Context, client *ssh.Client, path string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := client.Dial("unix", path)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("%s: %w", path, r.err)
		}
		return &channelConn{Conn: r.conn}, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// channelConn adds deadlines, which HTTP clients set, to an SSH channel: the channel is closed when
// one passes.
type channelConn struct {
	net.Conn
	mu    sync.Mutex
	timer *time.Timer
}

// SetDeadline closes the channel at the given time; the zero time cancels that.
func (c *channelConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() { c.Conn.Close() })
	}
	return nil
}

// SetReadDeadline is SetDeadline: a channel has only one deadline.
func (c *channelConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline is SetDeadline: a channel has only one deadline.
func (c *channelConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// seedKeys are the SSH keys in a machine's seed.
func seedKeys(dir string, n node) (authorized, private, public string, err error) {
	_, authorized, err1 := keyPair(filepath.Join(dir, "ssh", clientKey))
	private, public, err2 := keyPair(n.path(hostKey))
	return authorized, private, public, errors.Join(err1, err2)
}
