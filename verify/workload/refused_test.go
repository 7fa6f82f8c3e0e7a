package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"netlab.dev/netlab/verify/plantest"
)

// A webhook that is waited for holds up no other object.
func TestSlowCreation(t *testing.T) {
	var creating atomic.Int64
	most := int64(0)
	began := time.Now()
	errs := eachOf(make([]object, 24), func(object) error {
		if n := creating.Add(1); n == 24 {
			most = n
		}
		time.Sleep(3 * time.Second)
		creating.Add(-1)
		return errors.New("failed calling webhook")
	})
	if took := time.Since(began); most != 24 || len(errs) != 24 || slices.Contains(errs, nil) || took > 7*time.Second {
		t.Errorf("%d at a time, %d errors in %s", most, len(errs), took)
	}
}

// TestRefused: what an admission controller refuses names the object that does it, and what a
// young cluster rejects for a moment is an ordinary error.
func TestRefused(t *testing.T) {
	forbidden := func(text string) error {
		return apierrors.NewForbidden(corev1.Resource("pods"), "echo-w1", errors.New(text))
	}
	away := `Internal error occurred: failed calling webhook "pods.example.org": failed to call webhook: Post "https://hook.shop.svc:443/?timeout=10s": dial tcp 10.96.0.9:443: connect: connection refused`
	for _, c := range []struct {
		name, want string
		err        error
		away       bool
	}{
		{"Pod Security", `Namespace netlab-verify refuses it by its label pod-security.kubernetes.io/enforce=restricted: violates PodSecurity "restricted:latest": host namespaces`,
			forbidden(`violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)`), false},
		{"ResourceQuota", "ResourceQuota netlab-verify/few refuses it: exceeded quota: few, requested: pods=1",
			forbidden("exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3"), false},
		{"ResourceQuota that requires limits", "ResourceQuota netlab-verify/strict refuses it: failed quota: strict: must specify limits.cpu",
			forbidden("failed quota: strict: must specify limits.cpu for: agent"), false},
		{"LimitRange", "LimitRange netlab-verify/big refuses it: minimum cpu usage per Container is 100m",
			forbidden("minimum cpu usage per Container is 100m, but request is 1m"), false},
		{"webhook that denies", `MutatingWebhookConfiguration strict refuses it: admission webhook "pods.example.org" denied the request: no`,
			forbidden(`admission webhook "pods.example.org" denied the request: no`), false},
		{"webhook that is away", `MutatingWebhookConfiguration strict refuses it: Internal error occurred: failed calling webhook "pods.example.org"`,
			apierrors.NewInternalError(errors.New(strings.TrimPrefix(away, "Internal error occurred: "))), true},
		{"an account that is not there yet", "", forbidden(`error looking up service account netlab-verify/agent: serviceaccount "agent" not found`), false},
		{"a quota that is not counted yet", "", forbidden("status unknown for quota: few, resources: pods"), false},
		{"an API server that starts", "", apierrors.NewServiceUnavailable("apiserver is starting"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := plantest.Plan(t, "quickstart")
			ns := namespaces()[0].Object.(*corev1.Namespace)
			ns.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
			hook := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
				"metadata": map[string]any{"name": "strict"}, "webhooks": []any{map[string]any{"name": "pods.example.org"}}}}
			limits := &corev1.LimitRange{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"}, ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "big"}}
			client := fake.NewSimpleDynamicClient(scheme.Scheme, ns, hook, limits)
			client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
				o := a.(clienttesting.CreateAction).GetObject().(metav1.Object)
				if o.GetName() != "echo-w1" {
					return false, nil, nil
				}
				return true, nil, c.err
			})
			refused, rest := Refusals(Apply(t.Context(), client, testLab(plan, "image")))
			if c.want == "" {
				if len(refused) > 0 || rest == nil {
					t.Fatalf("refused %v, rest %v", refused, rest)
				}
				return
			}
			r := refused["pods/netlab-verify/echo-w1"]
			if len(refused) != 1 || rest != nil || !strings.HasPrefix(r.Why, c.want) || r.Away != c.away {
				t.Errorf("refused %+v, rest %v; want %s", refused, rest, c.want)
			}
			if pods := fmt.Sprint(changes(client)); !strings.Contains(pods, "create pods/echo-w2") {
				t.Errorf("the other Pods were not created: %s", pods)
			}
		})
	}
}
