package providers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"netlab.dev/netlab/components"
)

// socketed is a Node with a server on a unix socket.
type socketed struct {
	Machine
	path string
}

func (s socketed) Dial(ctx context.Context, path string) (net.Conn, error) {
	if path != "/run/agent.sock" {
		return nil, errors.New("no such socket: " + path)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", s.path)
}

// saying serves one answer after another, and the last of them from then on.
func saying(t *testing.T, all ...string) (socketed, *atomic.Int32) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	asked := &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		says := all[min(int(asked.Add(1)), len(all))-1]
		if r.URL.Path != "/v1/endpoint" || says == "" {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		w.Write([]byte(says))
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return socketed{path: path}, asked
}

func question() components.Question {
	return components.Question{Socket: "/run/agent.sock", Path: "/v1/endpoint", Of: "endpoint", Name: "id", Field: "status.state", Want: "ready"}
}

func TestAnswers(t *testing.T) {
	node, asked := saying(t, "", "[]", `[{"id": 1, "status": {"state": "regenerating"}}]`,
		`[{"id": 1, "status": {"state": "ready"}}, {"id": 2, "status": {}}]`,
		`[{"id": 1, "status": {"state": "ready"}}, {"id": 2, "status": {"state": "ready"}}]`)
	if err := answers(t.Context(), question(), "w1", node); err != nil || asked.Load() != 5 {
		t.Errorf("%v after %d answers, want the fifth to be good", err, asked.Load())
	}
}

// The error of a check that never succeeds includes the last response.
func TestAnswersThatStayBad(t *testing.T) {
	for says, want := range map[string]string{
		`[{"id": 12, "status": {"state": "not-ready"}}, {"id": 3, "status": {"state": "ready"}}]`: `endpoint 12 is "not-ready"`,
		`[]`:     "no endpoint found",
		`{}`:     "did not return a list",
		"":       "500 Internal Server Error",
		`[{"x"}`: "did not return a list",
	} {
		node, asked := saying(t, says)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := errors.New("it took too long")
		go func() {
			for asked.Load() < 2 && ctx.Err() == nil {
				sleep(ctx, apiRetry/10)
			}
			cancel(ended)
		}()
		err := answers(ctx, question(), "w1", node)
		if !errors.Is(err, ended) || !strings.Contains(err.Error(), "node w1: stopped waiting until every endpoint is ready") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", says, err, want)
		}
	}
	if err := answers(t.Context(), question(), "w1", nil); err == nil || !strings.Contains(err.Error(), "node w1 is off") {
		t.Errorf("without a Node: %v", err)
	}
}
