// Package remote connects to the machines of remote hypervisors by SSH: one connection for
// each machine, over which it runs programs and connects to unix sockets. Host keys are checked
// against known_hosts, and unknown keys are refused: there is no trust on first use.
// ~/.ssh/config is not read; settings.Hypervisor has all settings of a connection.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/settings"
)

// dialLimit bounds connecting to a machine, the SSH handshake included.
const dialLimit = 15 * time.Second

// Machine is a connection to another machine.
type Machine struct {
	At       settings.Hypervisor
	Own, Its netip.Addr // the connection's ends: IPv4 addresses of this machine and of that one
	client   *ssh.Client
}

// Dial opens the connection. Its errors have a hint for a machine that does not respond, whose
// host key is unknown or has changed, or that accepts none of the keys.
func Dial(ctx context.Context, at settings.Hypervisor) (*Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	port := at.Port
	if port == 0 {
		port = 22
	}
	address := net.JoinHostPort(at.Host, strconv.Itoa(port))
	failed := func(err error, todo string) error {
		err = fmt.Errorf("reach %s by SSH: %w", address, err)
		if todo != "" {
			return hint.With(err, todo)
		}
		return err
	}
	hosts, err := knownBy(at, address)
	if err != nil {
		return nil, failed(err, "")
	}
	keys, release, err := keysFor(ctx, at)
	if err != nil {
		return nil, failed(err, "")
	}
	defer release()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address) // the tunnels between hypervisors are IPv4's
	if err != nil {
		return nil, failed(err, whyNot(err, at))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	user := at.User
	if user == "" {
		user = "root"
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyCallback: hosts.check, HostKeyAlgorithms: hosts.algorithms,
	})
	if err != nil {
		conn.Close()
		var known hostError
		switch {
		case errors.As(err, &known):
			return nil, failed(known, known.hint)
		case ctx.Err() != nil:
			return nil, failed(fmt.Errorf("no SSH handshake within %s", dialLimit), "check its sshd: `ssh "+user+"@"+at.Host+"`")
		case strings.Contains(err.Error(), "unable to authenticate"):
			return nil, failed(fmt.Errorf("permission denied for %s with %d keys", user, len(keys)), keyHint(user))
		}
		return nil, failed(err, "")
	}
	m := &Machine{At: at, client: ssh.NewClient(c, channels, requests)}
	m.Own, m.Its = addressOf(conn.LocalAddr()), addressOf(conn.RemoteAddr())
	return m, nil
}

func addressOf(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }

// whyNot returns a hint for a machine that does not accept a connection.
func whyNot(err error, at settings.Hypervisor) string {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "add " + at.Host + " to /etc/hosts, or use its IP address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start its sshd (apt-get install openssh-server), or set the port: qemu+ssh://" + at.Host + ":PORT/system"
	}
	return "check that the machine is running and that no firewall blocks SSH"
}

func keyHint(user string) string {
	return "add one of your public keys to ~/.ssh/authorized_keys of its user " + user + " (ssh-copy-id), or set a private key: ?keyfile=PATH"
}

// hosts is the known host keys of a machine.
type hosts struct {
	check      ssh.HostKeyCallback
	algorithms []string // that have known keys; nil where none is known
}

// hostError is a host key that was refused.
type hostError struct{ what, hint string }

func (e hostError) Error() string { return e.what }

// knownBy reads the known_hosts files for a machine.
func knownBy(at settings.Hypervisor, address string) (hosts, error) {
	files, err := knownFiles(at)
	if err != nil {
		return hosts{}, err
	}
	ask, err := knownhosts.New(files...)
	if err != nil {
		return hosts{}, err
	}
	h := hosts{algorithms: algorithms(ask, address)}
	h.check = func(_ string, remote net.Addr, key ssh.PublicKey) error {
		err := ask(address, remote, key)
		var not *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		shown := key.Type() + " " + ssh.FingerprintSHA256(key)
		switch {
		case errors.As(err, &revoked):
			return hostError{"its host key " + shown + " is marked as revoked in known_hosts", "do not connect to it"}
		case !errors.As(err, &not):
			return err
		case len(not.Want) == 0:
			where := at.KnownHosts
			if where == "" {
				where = "~/.ssh/known_hosts"
			}
			return hostError{"its host key " + shown + " not found in known_hosts",
				"compare it with the output of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on that machine, then run " + scan(address) + " >>" + where}
		}
		old := not.Want[0]
		return hostError{fmt.Sprintf("its host key %s differs from that in %s:%d (%s)", shown, old.Filename, old.Line, ssh.FingerprintSHA256(old.Key)),
			"this may be a man-in-the-middle attack. If the machine was reinstalled: `ssh-keygen -R '" + knownhosts.Normalize(address) + "'`, and add its new key"}
	}
	return h, nil
}

// scan is the command that prints a machine's host keys in the format of known_hosts.
func scan(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if port == "22" {
		return "ssh-keyscan " + host
	}
	return "ssh-keyscan -p " + port + " " + host
}

// algorithms returns the signature algorithms of the known keys, so that a machine with
// several keys presents a known one. The error for a key that never matches lists them.
func algorithms(ask ssh.HostKeyCallback, address string) (list []string) {
	var not *knownhosts.KeyError
	if !errors.As(ask(address, &net.TCPAddr{IP: net.IPv4zero}, nobodys{}), &not) {
		return nil
	}
	for _, k := range not.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			list = append(list, t)
		}
	}
	return list
}

type nobodys struct{}

func (nobodys) Type() string                        { return "nobody's" }
func (nobodys) Marshal() []byte                     { return []byte("nobody's") }
func (nobodys) Verify([]byte, *ssh.Signature) error { return errors.New("nobody's key") }

// Close closes the connection and everything on it.
func (m *Machine) Close() { m.client.Close() }

// Unix connects to a unix socket of the machine, by OpenSSH's forwarding.
func (m *Machine) Unix(ctx context.Context, path string) (net.Conn, error) {
	conn, err := m.client.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", path, m.At.Host, err)
	}
	return conn, nil
}

// Run runs a program there and returns its standard output. The error includes its standard error.
func (m *Machine) Run(ctx context.Context, stdin io.Reader, argv ...string) ([]byte, error) {
	s, err := m.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", argv[0], m.At.Host, err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var stdout, stderr bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = stdin, &stdout, &stderr
	if err := s.Run(shell.Join(argv...)); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return stdout.Bytes(), &command.Error{Args: append([]string{"ssh", m.At.Host, "--"}, argv...), Output: strings.TrimSpace(stderr.String()), Err: err}
	}
	return stdout.Bytes(), nil
}
