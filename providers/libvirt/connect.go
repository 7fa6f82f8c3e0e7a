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

	"netlab.dev/netlab/providers"
)

// uriVariable names the hypervisor where a lab does not, as for virsh.
const uriVariable = "LIBVIRT_DEFAULT_URI"

// sockets are where the daemons of a system listen: libvirtd, and those that replace it.
var sockets = []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}

// hypervisor is a connection to libvirt on this machine.
type hypervisor struct {
	*libvirt.Libvirt
	uri   string
	space string // the network namespace in which it makes taps
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

// connect speaks libvirt's RPC protocol with the daemon of a URI.
func connect(ctx context.Context, uri string) (*hypervisor, error) {
	uri = resolve(uri)
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "qemu" || u.Host != "" || u.Path != "/system" {
		return nil, providers.WithHint(fmt.Errorf("libvirt: %q is no hypervisor on this machine", uri), "write qemu:///system, or qemu:///system?socket=PATH")
	}
	paths := sockets
	if s := u.Query().Get("socket"); s != "" {
		paths = []string{s}
	}
	var conn net.Conn
	for _, path := range paths {
		var d net.Dialer
		if conn, err = d.DialContext(ctx, "unix", path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, unreachable(uri, err)
	}
	space, err := spaceOf(conn.(*net.UnixConn))
	if err != nil {
		conn.Close()
		return nil, err
	}
	h := &hypervisor{libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn)), uri, space}
	if err := h.ConnectToURI(libvirt.RemoteURI(u)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("libvirt at %s: %w", uri, err)
	}
	return h, nil
}

// unreachable tells why nobody answers.
func unreachable(uri string, err error) error {
	told := fmt.Errorf("libvirt at %s: %w", uri, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return providers.WithHint(told, "apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils, or set provider: netns, which needs none")
	case errors.Is(err, fs.ErrPermission):
		return providers.WithHint(told, "run netlab with sudo, or as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return providers.WithHint(told, "start it with `systemctl start libvirtd`")
	}
	return told
}

// spaceOf gives the network namespace of the process behind a socket. Where systemd
// listens for the daemon that is systemd, and its namespace the machine's.
func spaceOf(conn *net.UnixConn) (string, error) {
	raw, err := conn.SyscallConn()
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
func (h *hypervisor) close() { h.Disconnect() }

// notFound reports that libvirt has nothing of a name. The numbers are VIR_ERR_NO_DOMAIN,
// VIR_ERR_NO_STORAGE_POOL and VIR_ERR_NO_STORAGE_VOL of libvirt/virterror.h.
func notFound(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && (e.Code == 42 || e.Code == 49 || e.Code == 50)
}

// full adds to an error that a disk is full how to go on.
func full(err error, images string) error {
	if err != nil && strings.Contains(err.Error(), "No space left on device") {
		return providers.WithHint(err, "make room in "+images+", or name another directory as libvirt.images")
	}
	return err
}
