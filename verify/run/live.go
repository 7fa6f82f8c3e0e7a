package run

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
)

// liveCluster applies policies to the cluster.
type liveCluster struct {
	w      observe.Snapshot
	agents *client
	client dynamic.Interface
}

// away is how long the API server may be away.
func (l liveCluster) away() time.Duration { return l.w.Plan.Limit(apiAway, 10*apiAway) }

func (l liveCluster) Ask(ctx context.Context, from observe.Ref, probe agent.Probe) (agent.Result, error) {
	s, err := l.w.Station(from)
	if err != nil {
		return agent.Result{}, err
	}
	results, err := l.agents.ask(ctx, s, []agent.Probe{probe})
	if err != nil {
		return agent.Result{}, err
	}
	return results[0], nil
}

func (l liveCluster) Apply(ctx context.Context, policy runtime.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(policy)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	tries := 0
	return whileAway(ctx, l.away(), func(ctx context.Context) error {
		_, err := l.client.Resource(resourceOf(policy)).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
		if tries++; tries > 1 && apierrors.IsAlreadyExists(err) {
			return nil // by a try whose answer was lost
		}
		return err
	})
}

func (l liveCluster) Remove(ctx context.Context, policy runtime.Object) error {
	named, err := meta.Accessor(policy)
	if err != nil {
		return err
	}
	err = whileAway(ctx, l.away(), func(ctx context.Context) error {
		return l.client.Resource(resourceOf(policy)).Namespace(named.GetNamespace()).Delete(ctx, named.GetName(), metav1.DeleteOptions{})
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (l liveCluster) Label(ctx context.Context, pod observe.Ref, key, value string) error {
	p, _ := l.w.Pods.Pod(pod.Name)
	to := any(value)
	if value == "" {
		to = nil // a merge patch removes it
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{key: to}}})
	if err != nil {
		return err
	}
	return whileAway(ctx, l.away(), func(ctx context.Context) error {
		_, err := l.client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// whileAway repeats a request while the API server is away, for at most limit: it does not answer,
// or says that it is not available or has too many requests.
func whileAway(ctx context.Context, limit time.Duration, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := request(limited)
		answered := err == nil || errors.As(err, new(apierrors.APIStatus))
		if answered && !apierrors.IsServiceUnavailable(err) && !apierrors.IsTooManyRequests(err) || limited.Err() != nil {
			return err
		}
		sleep(limited, 250*time.Millisecond)
	}
}
