package pid1

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// A service waits for a server of its CA's that is ready, and not for one that never can be.
func TestAfterURL(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, data, 0o644); err != nil {
		t.Fatal(err)
	}
	wait := func(url, ca string) bool {
		done := make(chan struct{})
		go func() { awaitURL(url, ca); close(done) }()
		select {
		case <-done:
			return true
		case <-time.After(10 * time.Second):
			return false
		}
	}
	if !wait(server.URL+"/readyz", ca) || asked.Load() != 2 {
		t.Errorf("a server that is ready at the second question was asked %d times", asked.Load())
	}
	if !wait("", "") || !wait(server.URL, ca+".none") {
		t.Error("nothing is waited for, and it is waited")
	}
}
