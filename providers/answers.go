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

// answerLimit bounds one question to a Node.
const answerLimit = 5 * time.Second

// answers asks a question of a Node until the answer is good. When ctx ends first the
// error holds the last answer.
func answers(ctx context.Context, q components.Question, name string, node Machine) error {
	if node == nil {
		return fmt.Errorf("ask whether %s: node %s does not run", q, name)
	}
	client := unixhttp.NewClient(func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, q.Socket) })
	defer client.CloseIdleConnections()
	var last error
	for {
		err := answer(ctx, client, q)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // not a question that the end cut off
			last = err
		}
		if !sleep(ctx, apiRetry) {
			return fmt.Errorf("it is not so on %s that %s: %w: %w", name, q, context.Cause(ctx), last)
		}
	}
}

// answer asks once, and gives why the answer is not good.
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
		return fmt.Errorf("%s answers %s %s", q.Socket, response.Status, text)
	}
	var entries []map[string]any
	if err := json.NewDecoder(response.Body).Decode(&entries); err != nil {
		return fmt.Errorf("%s answers no list: %w", q.Socket, err)
	}
	if len(entries) == 0 {
		return errors.New("there is no " + q.Of)
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

// field gives a field of an object by its dotted path, "" for one that is not there.
func field(object map[string]any, path string) string {
	value, found, err := unstructured.NestedFieldNoCopy(object, strings.Split(path, ".")...)
	if !found || err != nil {
		return ""
	}
	return fmt.Sprint(value)
}
