package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/unixhttp"
)

// answerLimit bounds one request to a Node.
const answerLimit = 5 * time.Second

// answers repeats a request to a Node until the response is as expected. When ctx is done
// first, the error includes the last response.
func answers(ctx context.Context, q components.Question, name string, node Machine) error {
	if node == nil {
		return fmt.Errorf("node %s is off: cannot check that %s", name, q)
	}
	client := unixhttp.NewClient(func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, q.Socket) })
	defer client.CloseIdleConnections()
	var last error
	for {
		err := answer(ctx, client, q)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // ignore a request that was cut off
			last = err
		}
		if !sleep(ctx, apiRetry) {
			return fmt.Errorf("node %s: %s waiting until %s: %w: %w", name, stopped(ctx), q, context.Cause(ctx), last)
		}
	}
}

// stopped says how a wait stopped by ctx ended: it timed out or was interrupted.
func stopped(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "timed out"
	}
	return "stopped"
}

// answer sends one request and returns an error unless the response is as expected.
func answer(ctx context.Context, client *http.Client, q components.Question) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+q.Path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s returned %s %s", q.Socket, response.Status, text)
	}
	var entries []map[string]any
	if err := json.NewDecoder(response.Body).Decode(&entries); err != nil {
		return fmt.Errorf("%s did not return a list: %w", q.Socket, err)
	}
	if len(entries) == 0 {
		return errors.New("no " + q.Of + " found")
	}
	var others []string
	for _, e := range entries {
		if is := field(e, q.Field); is != q.Want {
			others = append(others, fmt.Sprintf("%s %s is %q", q.Of, field(e, q.Name), is))
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		return errors.New(strings.Join(others, ", "))
	}
	return nil
}

// field returns a field of an object by its dotted path, "" if the field is missing.
func field(object map[string]any, path string) string {
	value, found, err := unstructured.NestedFieldNoCopy(object, strings.Split(path, ".")...)
	if !found || err != nil {
		return ""
	}
	return fmt.Sprint(value)
}
