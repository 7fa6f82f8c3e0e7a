package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// loadServerStart bounds the wait for a load server to listen.
const loadServerStart = 5 * time.Second

// loadServers holds the LoadServer of an agent, one at a time.
type loadServers struct {
	mutex  sync.Mutex
	ending func() // stops the current one and waits for it; nil for none
	before CPU
}

// start stops the current LoadServer and starts another, which listens when start returns.
func (x *loadServers) start(argv []string, limit time.Duration) error {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	x.end()
	ctx, cancel := context.WithTimeout(context.Background(), min(limit, maxLoad))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	listening, ended := make(chan bool, 1), make(chan struct{})
	var said []string // read once ended is closed
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			if line := s.Text(); len(said) < 20 {
				said = append(said, line)
				if strings.Contains(line, "istening on") {
					listening <- true
				}
			}
		}
		cmd.Wait()
	}()
	x.ending = func() { cancel(); <-ended }
	select {
	case <-listening:
		x.before = ownCPU()
		return nil
	case <-ended:
		err = fmt.Errorf("%s: %s", argv[0], strings.Join(said, " "))
	case <-time.After(loadServerStart):
		err = fmt.Errorf("%s is not listening after %s", argv[0], loadServerStart)
	}
	x.end()
	return err
}

// stop stops the current LoadServer, if any, and returns what it used.
func (x *loadServers) stop() Served {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if x.ending == nil {
		return Served{CPU{Missing: "the server had exited early"}}
	}
	used := ownCPU().since(x.before)
	x.end()
	return Served{used}
}

func (x *loadServers) end() {
	if x.ending != nil {
		x.ending()
		x.ending = nil
	}
}

// control adds the requests of measurements to those of the control socket: POST /load-server
// starts a server, DELETE /load-server stops it, POST /load runs the client.
func (s Server) control(mux *http.ServeMux, x *loadServers) {
	mux.HandleFunc("POST /load-server", func(w http.ResponseWriter, r *http.Request) {
		var asked LoadServer
		if !decoded(w, r, &asked) {
			return
		}
		argv, err := s.loadServerArgv(asked.Kind)
		if err == nil {
			err = x.start(argv, time.Duration(asked.Seconds)*time.Second)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(struct{}{})
	})
	mux.HandleFunc("DELETE /load-server", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(x.stop())
	})
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, r *http.Request) {
		var l Load
		if decoded(w, r, &l) {
			json.NewEncoder(w).Encode(measure(r.Context(), l))
		}
	})
}

func decoded(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// output runs a program and returns its standard output; its error has the standard error.
func output(ctx context.Context, argv []string) ([]byte, error) {
	said, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %.500s", err, exit.Stderr)
	}
	return said, err
}
