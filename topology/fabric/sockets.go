package fabric

import (
	"context"
	"net"
	"net/netip"

	"netlab.dev/netlab/labs"
)

// Dial connects from inside a namespace. The connection stays in it wherever it is used. The address is an IP address and a port: names would be resolved outside.
func Dial(ctx context.Context, lab labs.Name, machine, network, address string) (conn net.Conn, err error) {
	err = Enter(lab, machine, func() error {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return err
		}
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside a namespace; the same holds as for Dial.
func Listen(ctx context.Context, lab labs.Name, machine, network, address string) (l net.Listener, err error) {
	err = Enter(lab, machine, func() error {
		var c net.ListenConfig
		l, err = c.Listen(ctx, network, address)
		return err
	})
	return l, err
}
