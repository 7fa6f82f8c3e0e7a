package run

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/verify/agent"
)

// scripted is a Node on which one shell script runs in place of every command.
type scripted struct {
	hostMachine
	script string
}

func (s scripted) Command(ctx context.Context, _ ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", "-c", s.script)
}

// TestVisiting: each Pod whose agent does not start is named with the reason, the others are
// visited until the verification leaves, and nothing waits for a Node that says nothing.
func TestVisiting(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"both answer":     {`read list; echo '{"name":"shop/a"}{"name":"shop/b"}'; cat >/dev/null`, ""},
		"one fails":       {`read list; echo '{"name":"shop/a","error":"no process"}{"name":"shop/b"}'; cat >/dev/null`, "shop/a: no process"},
		"no agent":        {`echo "the agent of the Node does not run" >&2; exit 1`, "shop/a: exit status 1\nthe agent of the Node does not run, shop/b: exit status 1\nthe agent of the Node does not run"},
		"not a word":      {`cat >/dev/null`, "shop/a: it did not answer within 1s, shop/b: it did not answer within 1s"},
		"one is silent":   {`read list; echo '{"name":"shop/b"}'; cat >/dev/null`, "shop/a: it did not answer within 1s"},
		"it ends quickly": {`exit 0`, "shop/a: it ended, shop/b: it ended"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := map[string]string{}
			v := visiting{machine: scripted{script: c.script}, agent: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}, limit: time.Second,
				visits: []agent.Visit{{Name: "shop/a"}, {Name: "shop/b"}},
				failed: func(why string, which ...agent.Visit) {
					for _, x := range which {
						failed[x.Name] = why
					}
				}}
			left, started, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				v.run(t.Context(), left, func() { close(started) })
				close(ended)
			}()
			within(t, started, "start")
			var got []string
			for _, name := range []string{"shop/a", "shop/b"} {
				if why, bad := failed[name]; bad {
					got = append(got, fmt.Sprintf("%s: %s", name, why))
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("failed %q, want %q", text, c.want)
			}
			close(left)
			within(t, ended, "end")
		})
	}
}

func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("it did not %s", what)
	}
}
