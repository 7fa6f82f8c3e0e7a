package checks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
)

// TestCandidates: from each workload to each Service but its own, and from outside hosts to VIPs and
// hosts of Ingresses.
func TestCandidates(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s, ingresses := observetest.Shop(observetest.Healthy(plan))
	var got []string
	for _, p := range checks.Candidates(plan, s, ingresses) {
		got = append(got, fmt.Sprint(p.From, " ", p.To, " ", p.Protocol))
	}
	want := []string{
		"client vip/shop/web:80 http", "client vip/shop/web:514 udp", "client ingress/shop.example.test http", "client ingress/shop.example.test https",
		"shop/frontend shop/web:80 http", "shop/frontend shop/web:514 udp", "shop/frontend shop/database:5432 tcp", "shop/web shop/database:5432 tcp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("candidates\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
