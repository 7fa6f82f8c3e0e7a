package observe

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/verify/workload"
)

// Usage is what the Pods of a workload use, all Nodes together.
type Usage struct {
	Workload   string  // the name of its controller; of a static Pod its own, without the Node's
	Bytes      int64   // working set
	CPUSeconds float64 // since they started
}

// podSample is a line of kubelet's /metrics/resource about a Pod. (/stats/summary has the same, and is
// refused where kubelet does not know the device of its root file system, as on netns.)
var podSample = regexp.MustCompile(`(?m)^pod_(cpu_usage_seconds_total|memory_working_set_bytes)\{namespace="([^"]+)",pod="([^"]+)"\} (\S+)`)

// UsageOf asks the kubelets of all Nodes what Pods use, by workload in the order of their names. Pods of
// the verification are left out. Kubelet reads cgroups every ten seconds or more: complete is false, and
// workloads are missing, while it has not read those of all Pods.
func UsageOf(ctx context.Context, client kubernetes.Interface) (all []Usage, complete bool, err error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, false, fmt.Errorf("list Nodes: %w", err)
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, false, fmt.Errorf("list Pods: %w", err)
	}
	var metrics strings.Builder
	for _, n := range nodes.Items {
		text, err := client.CoreV1().RESTClient().Get().Resource("nodes").Name(n.Name).SubResource("proxy").Suffix("metrics/resource").DoRaw(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("ask the kubelet of %s: %w", n.Name, err)
		}
		metrics.Write(text)
	}
	all, complete = usageOf(pods.Items, metrics.String())
	return all, complete, nil
}

// usageOf sums up the samples of Pods. Kubelet that cannot read its cgroups has none.
func usageOf(pods []corev1.Pod, metrics string) (all []Usage, complete bool) {
	owners := map[string]string{}
	for i := range pods {
		owners[pods[i].Namespace+"/"+pods[i].Name] = controllerOf(&pods[i])
	}
	sums := map[string]*Usage{}
	unread := map[string]bool{} // a Pod of them uses no memory yet
	for _, m := range podSample.FindAllStringSubmatch(metrics, -1) {
		name := owners[m[2]+"/"+m[3]]
		value, err := strconv.ParseFloat(m[4], 64)
		if err != nil || name == "" || strings.HasPrefix(m[2], workload.Namespace) {
			continue // gone meanwhile, or ours
		}
		if sums[name] == nil {
			sums[name] = &Usage{Workload: name}
		}
		if m[1] == "memory_working_set_bytes" {
			sums[name].Bytes += int64(value)
			unread[name] = unread[name] || value == 0
		} else {
			sums[name].CPUSeconds += value
		}
	}
	complete = true
	for _, u := range sums {
		if unread[u.Workload] {
			complete = false
			continue
		}
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b Usage) int { return strings.Compare(a.Workload, b.Workload) })
	return all, complete
}

// controllerOf names what controls a Pod: the Deployment of a ReplicaSet, and for a static Pod itself.
func controllerOf(p *corev1.Pod) string {
	owner := metav1.GetControllerOf(p)
	switch {
	case owner == nil:
		return p.Name
	case owner.Kind == "Node":
		return strings.TrimSuffix(p.Name, "-"+owner.Name)
	case owner.Kind == "ReplicaSet":
		return strings.TrimSuffix(owner.Name, "-"+p.Labels["pod-template-hash"])
	}
	return owner.Name
}
