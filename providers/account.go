package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"netlab.dev/netlab/components"
)

// equip gives each host that runs a controller of the cluster its kubeconfig, and waits until one of them
// works: it holds the lease.
func (i *installer) equip(ctx context.Context, a components.Account) error {
	text, err := i.kubeconfig(ctx, a)
	if err != nil {
		return err
	}
	for _, name := range a.Hosts {
		host, there := i.hosts[name]
		if !there {
			return fmt.Errorf("host %s is not there: it needs the kubeconfig of ServiceAccount %s/%s", name, a.Namespace, a.Name)
		}
		cmd := host.Command(ctx, "sh", "-ec", `umask 077; mkdir -p "${1%/*}"; cat >"$1.new"; mv "$1.new" "$1"`, "sh", a.Kubeconfig)
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("write %s on host %s: %w: %s", a.Kubeconfig, name, err, bytes.TrimSpace(out))
		}
	}
	return i.awaitLease(ctx, a)
}

// kubeconfig is that of a ServiceAccount, for hosts of the lab.
func (i *installer) kubeconfig(ctx context.Context, a components.Account) ([]byte, error) {
	for {
		secret, err := i.client.CoreV1().Secrets(a.Namespace).Get(ctx, a.Secret, metav1.GetOptions{})
		if err == nil && len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 {
			config := clientcmdapi.NewConfig()
			config.Clusters["lab"] = &clientcmdapi.Cluster{Server: "https://" + i.api, CertificateAuthorityData: secret.Data[corev1.ServiceAccountRootCAKey]}
			config.AuthInfos[a.Name] = &clientcmdapi.AuthInfo{Token: string(secret.Data[corev1.ServiceAccountTokenKey])}
			config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: a.Name}
			config.CurrentContext = "lab"
			return clientcmd.Write(*config)
		}
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return nil, err
		}
		if !sleep(ctx, apiRetry) {
			return nil, fmt.Errorf("%s waiting for the token in Secret %s/%s: %w", stopped(ctx), a.Namespace, a.Secret, errors.Join(context.Cause(ctx), err))
		}
	}
}

// awaitLease waits until the lease of an account is held.
func (i *installer) awaitLease(ctx context.Context, a components.Account) error {
	for {
		lease, err := i.client.CoordinationV1().Leases(a.Namespace).Get(ctx, a.Lease, metav1.GetOptions{})
		if err == nil && leads(lease.Spec, time.Now()) {
			return nil
		}
		if !sleep(ctx, apiRetry) {
			return fmt.Errorf("%s waiting until Lease %s/%s is held, by a controller on %v (`netlab logs` shows its log): %w",
				stopped(ctx), a.Namespace, a.Lease, a.Hosts, errors.Join(context.Cause(ctx), err))
		}
	}
}

// leads reports whether somebody has a lease, and has renewed it.
func leads(l coordinationv1.LeaseSpec, now time.Time) bool {
	return l.HolderIdentity != nil && *l.HolderIdentity != "" && l.RenewTime != nil && l.LeaseDurationSeconds != nil &&
		now.Sub(l.RenewTime.Time) < time.Duration(*l.LeaseDurationSeconds)*time.Second
}
