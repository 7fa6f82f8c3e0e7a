package providers

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/clientcmd"

	"netlab.dev/netlab/components"
)

// here is a machine whose commands run on this one.
type here struct{ Machine }

func (here) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// The host's kubeconfig has the account's token and the API server's address in the lab; what is missing is named.
func TestEquip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "kubeconfig")
	a := components.Account{Name: "ccm", Secret: "token", Kubeconfig: path, Lease: "ccm", Namespace: "cloud-system", Hosts: []string{"cloud"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "cloud-system", Name: "token"}, Data: map[string][]byte{"token": []byte("abc"), "ca.crt": []byte("CA")}}
	lease := func(age time.Duration) *coordinationv1.Lease {
		holder, seconds, renewed := "cloud", int32(15), metav1.NewMicroTime(time.Now().Add(-age))
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "cloud-system", Name: "ccm"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}}
	}
	equip := func(limit time.Duration, hosts map[string]Machine, objects ...runtime.Object) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return (&installer{client: fake.NewClientset(objects...), hosts: hosts, api: "172.30.0.10:6443"}).equip(ctx, a)
	}
	on := map[string]Machine{"cloud": here{}}
	if err := equip(time.Minute, on, secret, lease(time.Second)); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if cluster, user := config.Clusters["lab"], config.AuthInfos["ccm"]; cluster.Server != "https://172.30.0.10:6443" || string(cluster.CertificateAuthorityData) != "CA" || user.Token != "abc" {
		t.Errorf("%+v %+v", cluster, user)
	}
	for want, err := range map[string]error{
		"the token in Secret cloud-system/token":       equip(time.Second, on, lease(time.Second)),
		"Lease cloud-system/ccm is held":               equip(5*time.Second, on, secret),
		"timed out waiting until Lease cloud-system/c": equip(5*time.Second, on, secret, lease(time.Minute)),
		"host cloud is not there":                      equip(time.Minute, nil, secret, lease(time.Second)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
