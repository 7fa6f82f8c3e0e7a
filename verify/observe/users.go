package observe

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/verify/workload"
)

// Users reports whether a Namespace is the user's: neither Kubernetes', a component's nor netlab's.
func (s State) Users(namespace string) bool {
	if strings.HasPrefix(namespace, "kube-") || namespace == workload.Namespace || namespace == workload.GuestsNamespace {
		return false
	}
	for _, of := range s.Installed {
		for _, w := range of {
			if w.Namespace == namespace {
				return false
			}
		}
	}
	return true
}

// UsersServices are the user's Services.
func (s State) UsersServices() (all []*corev1.Service) {
	for _, x := range s.Services {
		if s.Users(x.Namespace) && !(x.Namespace == "default" && x.Name == workload.ServiceAPI) {
			all = append(all, x)
		}
	}
	return all
}

// UsersWorkloads are the user's workloads and Pods that have ready Pods, as a path names them.
func (s State) UsersWorkloads() (names []string) {
	for _, p := range s.Pods {
		if s.Users(p.Namespace) && PodReady(p) {
			_, name := workloadOf(p)
			names = append(names, p.Namespace+"/"+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// WorkloadsBehind are the workloads and Pods behind a Service, as a path names them.
func (s State) WorkloadsBehind(x *corev1.Service) (names []string) {
	for _, pod := range s.Ready(x.Namespace, x.Name) {
		if p := s.Pod(x.Namespace, pod); p != nil {
			_, name := workloadOf(p)
			names = append(names, p.Namespace+"/"+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// workloadOf is the workload that a Pod is of, or the Pod. A ReplicaSet of a Deployment has the
// Deployment's name and the hash of its template.
func workloadOf(p *corev1.Pod) (kind, name string) {
	for _, o := range p.OwnerReferences {
		if o.Controller == nil || !*o.Controller || o.Kind == "Node" {
			continue
		}
		kind, name = strings.ToLower(o.Kind), o.Name
		if hash := p.Labels["pod-template-hash"]; kind == "replicaset" && hash != "" {
			return "deployment", strings.TrimSuffix(name, "-"+hash)
		}
		return kind, name
	}
	return "pod", p.Name
}
