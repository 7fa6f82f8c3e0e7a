package engine

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/workload"
)

// VIP is a Service of type LoadBalancer with its addresses.
type VIP struct {
	Service   string   `json:"service"` // NAMESPACE/NAME
	Addresses []string `json:"addresses"`
}

// vipsLimit bounds reading the Services of a cluster.
const vipsLimit = 10 * time.Second

// VIPs lists the addresses that a lab's load balancer assigned, without those of the
// verification's own Services, which come and go.
func (e Engine) VIPs(ctx context.Context, lab labs.Name) ([]VIP, error) {
	ctx, cancel := context.WithTimeout(ctx, vipsLimit)
	defer cancel()
	running, _, err := e.attach(ctx, lab)
	if len(running.Machines) == 0 && err != nil {
		return nil, err
	}
	client, err := running.Client()
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all := []VIP{}
	for _, s := range list.Items {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer || slices.Contains([]string{workload.Namespace, workload.GuestsNamespace}, s.Namespace) {
			continue
		}
		vip := VIP{Service: s.Namespace + "/" + s.Name, Addresses: []string{}}
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			if ingress.IP != "" {
				vip.Addresses = append(vip.Addresses, ingress.IP)
			}
		}
		all = append(all, vip)
	}
	return all, nil
}
