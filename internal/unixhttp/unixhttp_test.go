package unixhttp

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// Requests go to the socket, whatever host their URL names.
func TestSocketClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host+r.URL.Path) })}
	go server.Serve(l)
	defer server.Close()
	client := NewSocketClient(socket)
	defer client.CloseIdleConnections()
	for _, url := range []string{"http://node/ready", "http://192.0.2.1:1/x"} {
		response, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || "http://"+string(text) != url {
			t.Errorf("%s: %q (%v)", url, text, err)
		}
	}
	if _, err := NewSocketClient(socket + "-not").Get("http://node/"); err == nil {
		t.Error("a socket that is not there answers")
	}
}
