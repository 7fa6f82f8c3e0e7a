package workload

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Refused is an object that an admission controller refuses. Why names the object of the
// cluster that does it, where there is one.
type Refused struct {
	What string // "pods/netlab-verify/echo-w1"
	Why  string
	Away bool // a webhook could not be called, which may pass
}

func (r Refused) Error() string { return r.What + ": " + r.Why }

// Refusals splits an error of Apply into the refusals, by What, and the rest.
func Refusals(err error) (refused map[string]Refused, rest error) {
	refused = map[string]Refused{}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, one := range all {
		var r Refused
		if errors.As(one, &r) {
			refused[r.What] = r
		} else {
			rest = errors.Join(rest, one)
		}
	}
	return refused, rest
}

var (
	quotaName   = regexp.MustCompile(`(?:exceeded|failed) quota: ([^,:]+)`)
	webhookName = regexp.MustCompile(`(?:failed calling|admission) webhook "([^"]+)"`)
	limitText   = regexp.MustCompile(`(?:usage|ratio|limit) per (?:Container|Pod)|per (?:Container|Pod) is `)
)

// refused turns the error of a creation into a Refused where an admission controller refuses
// the object, and not for the moment only.
func refused(ctx context.Context, client dynamic.Interface, o object, have map[string]found, err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "create "+o.key()+": ")
	if i := strings.Index(text, "is forbidden: "); i >= 0 {
		text = text[i+len("is forbidden: "):]
	}
	r := Refused{What: o.key(), Why: text}
	webhook := webhookName.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "violates PodSecurity"):
		r.Why = podSecurity(have, o.Namespace) + text
	case quotaName.MatchString(text):
		r.Why = fmt.Sprintf("ResourceQuota %s/%s refuses it: %s", o.Namespace, quotaName.FindStringSubmatch(text)[1], text)
	case webhook != nil:
		r.Why = webhookOf(ctx, client, webhook[1]) + text
		r.Away = strings.Contains(text, "failed calling webhook")
	case apierrors.IsForbidden(err) && limitText.MatchString(text):
		r.Why = limitRanges(ctx, client, o.Namespace) + text
	case strings.Contains(text, "ValidatingAdmissionPolicy"):
	case !apierrors.IsForbidden(err), apierrors.HasStatusCause(err, "NamespaceTerminating"),
		strings.Contains(text, "error looking up service account"), strings.Contains(text, "status unknown for quota"):
		return err // a young cluster says so for a moment
	}
	return r
}

// podSecurity names the Namespace and its label that refuse a Pod.
func podSecurity(have map[string]found, namespace string) string {
	const label = "pod-security.kubernetes.io/enforce"
	ns := have[object{Resource: resourceNamespaces(), Name: namespace}.key()].Object
	if level := ns.GetLabels()[label]; level != "" {
		return fmt.Sprintf("Namespace %s refuses it by its label %s=%s: ", namespace, label, level)
	}
	return fmt.Sprintf("Namespace %s refuses it: ", namespace)
}

// webhookOf names the configuration that a webhook is of.
func webhookOf(ctx context.Context, client dynamic.Interface, name string) string {
	for _, kind := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"} {
		resource := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: strings.ToLower(kind) + "s"}
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue // the message names the webhook all the same
		}
		for _, item := range list.Items {
			hooks, _, _ := unstructured.NestedSlice(item.Object, "webhooks")
			for _, h := range hooks {
				if hook, ok := h.(map[string]any); ok && hook["name"] == name {
					return kind + " " + item.GetName() + " refuses it: "
				}
			}
		}
	}
	return ""
}

// limitRanges names the LimitRanges of a Namespace: their refusals do not.
func limitRanges(ctx context.Context, client dynamic.Interface, namespace string) string {
	list, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, namespace+"/"+item.GetName())
	}
	return "LimitRange " + strings.Join(names, " or ") + " refuses it: "
}
