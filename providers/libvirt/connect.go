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
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/remote"
)

// uriVariable names the hypervisor where a lab does not, as for virsh.
const uriVariable = "LIBVIRT_DEFAULT_URI"

// sockets are where the daemons of a system listen: libvirtd, and those that replace it.
var sockets = []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}

// hypervisor is a connection to libvirt, on this machine or another.
type hypervisor struct {
	*libvirt.Libvirt
	uri     string
	socket  string          // of libvirt, on its machine
	remote  *remote.Machine // the other machine; nil for this one
	program string          // netlab's path there, once it is there
}

// resolve gives the URI that is meant.
func resolve(uri string) string {
	for _, u := range []string{uri, os.Getenv(uriVariable)} {
		if u != "" {
			return u
		}
	}
	return "qemu:///system"
}

// connect speaks libvirt's RPC protocol with the daemon of a URI on this machine.
func connect(ctx context.Context, uri string) (*hypervisor, error) {
	uri = resolve(uri)
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "qemu" || u.Host != "" || u.Path != "/system" {
		return nil, hint.With(fmt.Errorf("libvirt: %q is no hypervisor on this machine", uri),
			"write qemu:///system, or qemu:///system?socket=PATH; another machine's is named in the lab file (libvirt.uri, or a Node's host)")
	}
	h := &hypervisor{uri: uri}
	return h, h.open(u.Query().Get("socket"), func(path string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// connectRemote does the same on another machine, over SSH.
func connectRemote(ctx context.Context, uri string) (*hypervisor, error) {
	at, err := labs.ParseHypervisor(uri)
	if err != nil {
		return nil, err
	}
	h := &hypervisor{uri: at.String()}
	if h.remote, err = remote.Dial(ctx, at); err != nil {
		return nil, err
	}
	err = h.open(at.Socket, func(path string) (net.Conn, error) { return h.remote.Unix(ctx, path) })
	if err != nil {
		h.remote.Close()
	}
	return h, err
}

// open connects to a socket, or to the first that answers of those there may be.
func (h *hypervisor) open(socket string, dial func(path string) (net.Conn, error)) error {
	paths := sockets
	if socket != "" {
		paths = []string{socket}
	}
	var conn net.Conn
	var err error
	for _, path := range paths {
		var next error
		h.socket = path
		if conn, next = dial(path); next == nil {
			err = nil
			break
		}
		// What is there and does not answer tells more than what is not there.
		if err == nil || errors.Is(err, fs.ErrNotExist) && !errors.Is(next, fs.ErrNotExist) {
			err = next
		}
	}
	if err != nil {
		return h.unreachable(err)
	}
	h.Libvirt = libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
	if err := h.ConnectToURI(libvirt.QEMUSystem); err != nil {
		conn.Close()
		return fmt.Errorf("libvirt at %s: %w", h.uri, err)
	}
	return nil
}

// unreachable tells why nobody answers.
func (h *hypervisor) unreachable(err error) error {
	told := fmt.Errorf("libvirt at %s: %w", h.uri, err)
	switch {
	case h.remote != nil: // SSH does not say why
		return hint.With(told, "on "+h.remote.At.Host+": apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, `systemctl start libvirtd`, and let its sshd forward (AllowStreamLocalForwarding yes)")
	case errors.Is(err, fs.ErrNotExist):
		return hint.With(told, "apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, or set provider: netns, which needs none")
	case errors.Is(err, fs.ErrPermission):
		return hint.With(told, "run netlab with sudo, or as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint.With(told, "start it with `systemctl start libvirtd`")
	}
	return told
}

// spaceOf gives the network namespace of the process behind a socket of this machine, in
// which it makes taps. Where systemd listens for the daemon that is systemd, and its
// namespace the machine's.
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
		return "", fmt.Errorf("who is behind libvirt's socket: %w", peerErr)
	}
	return fmt.Sprintf("/proc/%d/ns/net", peer.Pid), nil
}

// close ends the connection.
func (h *hypervisor) close() {
	h.Disconnect()
	if h.remote != nil {
		h.remote.Close()
	}
}

// notFound reports that libvirt has nothing of a name. The numbers are VIR_ERR_NO_DOMAIN,
// VIR_ERR_NO_STORAGE_POOL and VIR_ERR_NO_STORAGE_VOL of libvirt/virterror.h.
func notFound(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && (e.Code == 42 || e.Code == 49 || e.Code == 50)
}

// full adds to an error that a disk is full how to go on.
func full(err error, images string) error {
	if err != nil && strings.Contains(err.Error(), "No space left on device") {
		return hint.With(err, "make room in "+images+", or name another directory as libvirt.images")
	}
	return err
}
