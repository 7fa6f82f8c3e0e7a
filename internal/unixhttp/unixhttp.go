// Package unixhttp makes clients of HTTP servers on unix sockets, wherever the sockets are:
// the caller says how one is connected to.
package unixhttp

import (
	"context"
	"net"
	"net/http"
)

// NewClient gives a client whose requests all go where dial leads, whatever host their URLs
// name. Nothing bounds a request but its context.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
}

// NewSocketClient gives one of a socket of this machine.
func NewSocketClient(path string) *http.Client {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}
