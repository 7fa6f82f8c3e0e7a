package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// annotationHash shows whether an object in the cluster is the one that would be created.
// Manual changes to such an object are kept: users try faults that way.
const annotationHash = "netlab.dev/hash"

// Apply makes the cluster hold exactly the objects of the verification: missing ones are
// created, changed ones recreated, and those that an earlier plan or an interrupted run left
// are deleted. policies are the resources of policies other than NetworkPolicies. Objects that
// the cluster refuses are Refused errors among those of the result.
func Apply(ctx context.Context, client dynamic.Interface, l Lab, policies ...schema.GroupVersionResource) error {
	have, owners, err := listOwn(ctx, client, policies...)
	if err != nil {
		return err
	}
	var errs []error
	wanted := append(namespaces(), Objects(l)...)
	keep := map[string]bool{}
	phases := [3][]object{} // each needs the one before
	for _, o := range wanted {
		if o.Hash == "" {
			o.Hash = hashOf(o.Object)
		}
		keep[o.key()] = true
		existing, found := have[o.key()]
		if found && current(existing, o.Hash) && owners.keeps(existing) {
			errs = append(errs, owners.adopt(ctx, client, existing))
			continue
		}
		switch o.Resource {
		case resourceNamespaces():
			if found {
				continue // two labels; never worth losing what is in it
			}
			phases[0] = append(phases[0], o)
		case resourceAccounts():
			phases[1] = append(phases[1], o)
		default:
			phases[2] = append(phases[2], o)
		}
	}
	for key, existing := range have {
		if !keep[key] {
			errs = append(errs, remove(ctx, client, existing))
		}
	}
	for _, phase := range phases {
		errs = append(errs, eachOf(phase, func(o object) error {
			return refused(ctx, client, o, have, create(ctx, client, o, have, owners))
		})...)
	}
	return errors.Join(errs...)
}

// eachOf creates objects a few at a time, and returns an error or nil for each. A request that the
// API server holds for longer than a second does not delay the others: it waits for a webhook, up
// to 10 s if the webhook does not answer.
func eachOf(objects []object, create func(object) error) []error {
	const parallel, heldAfter = 8, time.Second
	errs, slots := make([]error, len(objects)), make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, o := range objects {
		slots <- struct{}{}
		release := sync.OnceFunc(func() { <-slots })
		all.Go(func() {
			defer time.AfterFunc(heldAfter, release).Stop()
			defer release()
			errs[i] = create(o)
		})
	}
	all.Wait()
	return errs
}

func (o object) key() string { return o.Resource.Resource + "/" + o.Namespace + "/" + o.Name }

// found is an object in the cluster that verify created.
type found struct {
	Resource schema.GroupVersionResource
	Object   unstructured.Unstructured
}

func listOwn(ctx context.Context, client dynamic.Interface, policies ...schema.GroupVersionResource) (map[string]found, owners, error) {
	resources := append([]schema.GroupVersionResource{resourceNamespaces(), resourceAccounts(), resourcePods(), resourceServices(),
		resourceSecrets(), resourceIngresses(), resourcePolicies()}, policies...)
	lists := make([]*unstructured.UnstructuredList, len(resources))
	g, ctx := errgroup.WithContext(ctx)
	var nodes owners
	g.Go(func() (err error) {
		nodes, err = listNodes(ctx, client)
		return err
	})
	for i, r := range resources {
		g.Go(func() (err error) {
			lists[i], err = client.Resource(r).List(ctx, metav1.ListOptions{LabelSelector: LabelOwner})
			if apierrors.IsNotFound(err) && slices.Contains(policies, r) {
				lists[i], err = &unstructured.UnstructuredList{}, nil // the CNI is still being installed
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", r.Resource, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	have := map[string]found{}
	for i, r := range resources {
		for _, item := range lists[i].Items {
			o := object{Resource: r, Namespace: item.GetNamespace(), Name: item.GetName()}
			have[o.key()] = found{Resource: r, Object: item}
		}
	}
	return have, nodes, nil
}

// current reports whether an existing object can stay: it has the same hash, is not being
// deleted and, if a Pod, has not terminated for good.
func current(existing found, hash string) bool {
	if existing.Object.GetDeletionTimestamp() != nil || existing.Object.GetAnnotations()[annotationHash] != hash {
		return false
	}
	phase, _, _ := unstructured.NestedString(existing.Object.Object, "status", "phase")
	return phase != string(corev1.PodFailed) && phase != string(corev1.PodSucceeded)
}

func create(ctx context.Context, client dynamic.Interface, o object, have map[string]found, nodes owners) error {
	if existing, ok := have[o.key()]; ok {
		if err := remove(ctx, client, existing); err != nil {
			return err
		}
	}
	if o.Resource == resourceSecrets() {
		secret, err := certificateSecret(o)
		if err != nil {
			return err
		}
		o.Object = secret
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.Object)
	if err != nil {
		return fmt.Errorf("create %s: %w", o.key(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationHash] = o.Hash
	u.SetAnnotations(annotations)
	if reference, ok := nodes.of(u); ok && o.Resource == resourcePods() {
		u.SetOwnerReferences([]metav1.OwnerReference{reference})
	}
	_, err = resourceIn(client, o.Resource, o.Namespace).Create(ctx, u, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // made by a concurrent Prepare since the list
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", o.key(), err)
	}
	return nil
}

func remove(ctx context.Context, client dynamic.Interface, f found) error {
	var now int64
	err := resourceIn(client, f.Resource, f.Object.GetNamespace()).Delete(ctx, f.Object.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", f.Resource.Resource, f.Object.GetName(), err)
	}
	return nil
}

func resourceIn(client dynamic.Interface, r schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return client.Resource(r)
	}
	return client.Resource(r).Namespace(namespace)
}

func hashOf(o runtime.Object) string {
	data, err := json.Marshal(o)
	if err != nil {
		return "" // never equal: the object is recreated, and its creation reports the error
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// certificateSecret makes a self-signed certificate for the Ingress's hosts.
func certificateSecret(o object) (*corev1.Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the Ingress certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "netlab verification"},
		DNSNames: IngressHosts(), NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the Ingress certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the Ingress certificate: %w", err)
	}
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: OwnMeta(o.Namespace, o.Name, nil), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}, nil
}
