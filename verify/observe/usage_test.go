package observe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pods of one workload are summed up over the Nodes; those of the verification do not count.
func TestUsageOf(t *testing.T) {
	controlled := func(namespace, name, kind, owner string) corev1.Pod {
		yes := true
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"pod-template-hash": "6f7c"},
			OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: owner, Controller: &yes}}}}
	}
	pods := []corev1.Pod{
		controlled("kube-flannel", "kube-flannel-ds-a", "DaemonSet", "kube-flannel-ds"),
		controlled("kube-flannel", "kube-flannel-ds-b", "DaemonSet", "kube-flannel-ds"),
		controlled("kube-system", "coredns-6f7c-x", "ReplicaSet", "coredns-6f7c"),
		controlled("kube-system", "etcd-cp", "Node", "cp"),
		controlled("netlab-verify", "echo-w1", "DaemonSet", "echo"),
	}
	metrics := "# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time\nnode_cpu_usage_seconds_total 50 1700000000000\n"
	for _, p := range pods {
		metrics += fmt.Sprintf("pod_cpu_usage_seconds_total{namespace=%q,pod=%q} 0.5 1700000000000\n", p.Namespace, p.Name)
		metrics += fmt.Sprintf("pod_memory_working_set_bytes{namespace=%q,pod=%q} 1e+07 1700000000000\n", p.Namespace, p.Name)
	}
	want := []Usage{{"coredns", 10e6, 0.5}, {"etcd", 10e6, 0.5}, {"kube-flannel-ds", 20e6, 1}}
	if got, complete := usageOf(pods, metrics); !slices.Equal(got, want) || !complete {
		t.Errorf("got %v (%t), want %v", got, complete, want)
	}
	// A Pod whose cgroup was not read yet: its workload is not known, rather than without memory.
	unread := strings.Replace(metrics, `pod="kube-flannel-ds-b"} 1e+07`, `pod="kube-flannel-ds-b"} 0`, 1)
	if got, complete := usageOf(pods, unread); !slices.Equal(got, want[:2]) || complete {
		t.Errorf("got %v (%t), want %v", got, complete, want[:2])
	}
}
