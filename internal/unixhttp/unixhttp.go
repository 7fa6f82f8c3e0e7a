// Package unixhttp makes clients of HTTP servers on unix sockets, wherever the sockets are:
// the caller provides the dialer.
package unixhttp

import (
	"context"
	"net"
	"net/http"
)

// NewClient returns a client whose requests all go to dial's connection, whatever host their
// URLs name. Requests are limited only by their contexts.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
}

// NewSocketClient returns a client of a socket on this machine.
func NewSocketClient(path string) *http.Client { return NewClient(AtSocket(path)) }

// AtSocket dials a socket on this machine.
func AtSocket(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}
