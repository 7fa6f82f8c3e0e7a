package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers/libvirt/remote"
	"netlab.dev/netlab/providers/libvirt/settings"
)

// uriVariable is the default URI of the hypervisor, as for virsh.
const uriVariable = "LIBVIRT_DEFAULT_URI"

// sockets are the sockets of the system daemons: libvirtd, and the modular daemons.
var sockets = []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}

// hypervisor is a connection to libvirt, on this machine or another.
type hypervisor struct {
	*libvirt.Libvirt
	calls   *answering // its connection
	uri     string
	socket  string          // libvirt's socket, on its machine
	remote  *remote.Machine // the remote machine; nil for this one
	program string          // path of netlab there, once it was copied
}

// resolve returns the URI, or its default.
func resolve(uri string) string {
	for _, u := range []string{uri, os.Getenv(uriVariable)} {
		if u != "" {
			return u
		}
	}
	return "qemu:///system"
}

// connect connects to the libvirt daemon of a URI on this machine, by libvirt's RPC protocol.
func connect(ctx context.Context, uri string) (*hypervisor, error) {
	uri = resolve(uri)
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "qemu" || u.Host != "" || u.Path != "/system" {
		return nil, hint.With(fmt.Errorf("libvirt: %q is not a hypervisor on this machine", uri),
			"use qemu:///system, or qemu:///system?socket=PATH; set a remote hypervisor in the lab file (libvirt.uri, or a Node's hypervisor)")
	}
	h := &hypervisor{uri: uri}
	return h, h.open(ctx, u.Query().Get("socket"), func(ctx context.Context, path string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// connectRemote does the same for a remote machine, over SSH.
func connectRemote(ctx context.Context, uri string) (*hypervisor, error) {
	at, err := settings.ParseHypervisor(uri)
	if err != nil {
		return nil, err
	}
	h := &hypervisor{uri: at.String()}
	if h.remote, err = remote.Dial(ctx, at); err != nil {
		return nil, err
	}
	err = h.open(ctx, at.Socket, h.remote.Unix)
	if err != nil {
		h.remote.Close()
	}
	return h, err
}

// open connects to a socket, or to the first of the possible sockets that accepts connections.
func (h *hypervisor) open(ctx context.Context, socket string, dial func(ctx context.Context, path string) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	paths := sockets
	if socket != "" {
		paths = []string{socket}
	}
	var conn net.Conn
	var err error
	for _, path := range paths {
		var next error
		h.socket = path
		if conn, next = dial(ctx, path); next == nil {
			err = nil
			break
		}
		// The error of an existing socket is more useful than that of a missing one.
		if err == nil || errors.Is(err, fs.ErrNotExist) && !errors.Is(next, fs.ErrNotExist) {
			err = next
		}
	}
	if err != nil {
		return h.unreachable(err)
	}
	h.calls = newAnswering(conn)
	h.Libvirt = libvirt.NewWithDialer(dialers.NewAlreadyConnected(h.calls))
	hung := context.AfterFunc(ctx, func() { conn.Close() })
	err = h.ConnectToURI(libvirt.QEMUSystem)
	if hung() && err == nil {
		return nil
	}
	conn.Close()
	if ctx.Err() != nil {
		return hint.With(fmt.Errorf("libvirt at %s: the daemon accepts connections and does not answer (%w)", h.uri, ctx.Err()), "restart it"+h.on()+": `systemctl restart libvirtd`")
	}
	return fmt.Errorf("libvirt at %s: %w", h.uri, err)
}

// unreachable adds a hint to the error of a failed connection.
func (h *hypervisor) unreachable(err error) error {
	failed := fmt.Errorf("libvirt at %s: %w", h.uri, err)
	switch {
	case h.remote != nil: // SSH does not report the reason
		return hint.With(failed, "on "+h.remote.At.Host+": apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, `systemctl start libvirtd`, and enable forwarding in its sshd (AllowStreamLocalForwarding yes)")
	case errors.Is(err, fs.ErrNotExist):
		return hint.With(failed, "apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, or set provider: netns, which needs none")
	case errors.Is(err, fs.ErrPermission):
		return hint.With(failed, "run netlab with sudo, or as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint.With(failed, "start it with `systemctl start libvirtd`")
	}
	return failed
}

// spaceOf returns the network namespace of the process that listens on a socket of this machine, in
// which it creates taps. With socket activation that process is systemd, in the machine's
// namespace.
func spaceOf(ctx context.Context, socket string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return "", err
	}
	if peerErr != nil {
		return "", fmt.Errorf("find the process that serves libvirt's socket: %w", peerErr)
	}
	return fmt.Sprintf("/proc/%d/ns/net", peer.Pid), nil
}

// close closes the connection.
func (h *hypervisor) close() {
	h.Disconnect()
	if h.remote != nil {
		h.remote.Close()
	}
}

// notFound reports whether libvirt returned a not-found error. The numbers are VIR_ERR_NO_DOMAIN,
// VIR_ERR_NO_STORAGE_POOL and VIR_ERR_NO_STORAGE_VOL of libvirt/virterror.h.
func notFound(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && (e.Code == 42 || e.Code == 49 || e.Code == 50)
}

// full adds a hint to the error of a full disk.
func full(err error, images string) error {
	if err != nil && strings.Contains(err.Error(), "No space left on device") {
		return hint.With(err, "free space in "+images+", or set libvirt.images to another directory")
	}
	return err
}
