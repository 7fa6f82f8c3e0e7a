package run

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
)

// A policy is applied and removed although the API server is away for a moment, whether it closes
// connections, is starting, or created the object before its answer was lost; what it refuses is
// refused at once.
func TestPolicyWhileAPIServerIsAway(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	policy := scenarioOf(checks.PolicyDefaultDeny, w).Policy
	answer := func(code int, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			w.Write([]byte(text))
		}
	}
	closes := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	starts := answer(http.StatusServiceUnavailable, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503}`)
	exists := answer(http.StatusConflict, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`)
	forbids := answer(http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
	works := answer(http.StatusOK, `{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{"name":"x"}}`)
	for name, c := range map[string]struct {
		answers []func(http.ResponseWriter) // the last one goes on
		asked   int64
		refused func(error) bool // nil: it works
	}{
		"away":          {[]func(http.ResponseWriter){closes, closes, starts, works}, 4, nil},
		"answer lost":   {[]func(http.ResponseWriter){closes, exists, works}, 2, nil},
		"there already": {[]func(http.ResponseWriter){exists}, 1, apierrors.IsAlreadyExists},
		"forbidden":     {[]func(http.ResponseWriter){forbids}, 1, apierrors.IsForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				i := asked.Add(1) - 1
				c.answers[min(int(i), len(c.answers)-1)](w)
			}))
			defer server.Close()
			client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			l := liveCluster{w: w, client: client}
			err = l.Apply(t.Context(), policy)
			if c.refused == nil && err != nil || c.refused != nil && !c.refused(err) || asked.Load() != c.asked {
				t.Errorf("apply: %v, asked %d times, want %d", err, asked.Load(), c.asked)
			}
		})
	}
	gone := errors.New("connection refused")
	if err := whileAway(t.Context(), 300*time.Millisecond, func(context.Context) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("an API server that stays away: %v", err)
	}
}
