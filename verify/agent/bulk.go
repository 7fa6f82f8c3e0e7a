package agent

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// bulkQuery requests as many bytes as the server of a LoadHTTP can send.
const bulkQuery = "bulk"

// loadMain makes one measurement and prints the result.
func loadMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var l Load
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &l) != nil {
		fmt.Fprintf(stderr, "requires one Load, as JSON\n%s", usage)
		return 2
	}
	out := Loaded{Outcome: Reply}
	var err error
	before, _ := ownSeconds()
	if l.Kind == LoadHTTP {
		out.Bits, out.BitsPerSecond, err = download(ctx, l)
	} else {
		var r Requests
		r, err = timeRequests(ctx, l)
		out.Requests = &r
	}
	after, missing := ownSeconds()
	out.CPU = CPU{Seconds: after - before}
	if missing != nil {
		out.CPU = CPU{Missing: missing.Error()}
	}
	if err != nil {
		out = Loaded{Outcome: outcome(err), Error: err.Error()}
	}
	if err := json.NewEncoder(stdout).Encode(out); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// loadServerMain is the server of HTTP downloads or of small requests, until it is stopped.
func loadServerMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("agent load-server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("address", "", "address to listen at; all when empty")
	port := flags.String("port", strconv.Itoa(PortLoad), "port to listen at")
	if len(args) == 0 || flags.Parse(args[1:]) != nil {
		fmt.Fprint(stderr, usage)
		return 2
	}
	serve := func() error {
		if args[0] == LoadRequests {
			at, err := hostPort(*address, *port)
			if err != nil {
				return err
			}
			l, err := listenSock(at)
			if err != nil {
				return err
			}
			defer l.Close()
			fmt.Fprintf(stdout, "listening on %s\n", at)
			return answerRequests(l)
		}
		l, err := net.Listen("tcp4", net.JoinHostPort(*address, *port))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		fmt.Fprintf(stdout, "listening on %s\n", l.Addr())
		return (&http.Server{Handler: http.HandlerFunc(pages), ReadHeaderTimeout: 5 * time.Second}).Serve(l)
	}
	if err := serve(); err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// pages answers with a small page, or with zeros until the client closes.
func pages(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != bulkQuery {
		io.WriteString(w, "ok\n")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(1<<50, 10))
	zeros := make([]byte, 256<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(zeros); err != nil {
			return
		}
	}
}

// download reads from several connections at a time, and counts from when all of them send.
func download(ctx context.Context, l Load) (bits, perSecond float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams := max(l.Streams, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: 256 << 10,
		DialContext: (&net.Dialer{Timeout: patience}).DialContext}}
	var count atomic.Int64
	begun, failed := make(chan struct{}, streams), make(chan error, streams)
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			if err := read(ctx, client, l, &count, func() { begun <- struct{}{} }); err != nil {
				failed <- err
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	late := time.After(patience)
	for range streams {
		select {
		case <-begun:
		case err := <-failed:
			return 0, 0, err
		case <-late:
			return 0, 0, fmt.Errorf("%w: no answer after %s", context.DeadlineExceeded, patience)
		}
	}
	start, first := time.Now(), count.Load()
	select {
	case <-time.After(time.Duration(max(l.Seconds, 1)) * time.Second):
	case err := <-failed:
		return 0, 0, err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	bits = 8 * float64(count.Load()-first)
	return bits, bits / time.Since(start).Seconds(), nil
}

// read reads one connection until ctx is done.
func read(ctx context.Context, client *http.Client, l Load, count *atomic.Int64, begun func()) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Target+"?"+bulkQuery, nil)
	if err != nil {
		return broken{err}
	}
	request.Host = l.Host
	response, err := client.Do(request)
	if err != nil {
		return garbledError(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: HTTP status %d", errGarbled, response.StatusCode)
	}
	begun()
	buf := make([]byte, 256<<10)
	for {
		n, err := response.Body.Read(buf)
		count.Add(int64(n))
		switch {
		case ctx.Err() != nil:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
