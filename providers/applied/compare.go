package applied

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Difference is an object that is not as it was applied.
type Difference struct {
	Part   string
	Object Object
	What   []string // how its fields differ; none: it does not exist
}

func (d Difference) Error() string {
	if len(d.What) == 0 {
		return fmt.Sprintf("%s: %s not found", d.Part, d.Object)
	}
	return fmt.Sprintf("%s: %s: %s", d.Part, d.Object, strings.Join(d.What, ", "))
}

// listed is the objects of one resource in one namespace.
type listed struct {
	resource  schema.GroupVersionResource
	namespace string
}

// atOnce limits the requests in flight.
const atOnce = 8

// Compare lists the objects that do not exist any more, and those in which somebody changed or
// removed what was applied, in the order of the record. It reads the metadata of all, and whole
// only those in which others own fields that were applied.
func Compare(ctx context.Context, config *rest.Config, record Record) ([]Difference, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return compare(ctx, config, client, record)
}

func compare(ctx context.Context, config *rest.Config, client *http.Client, record Record) ([]Difference, error) {
	heads, err := metadata.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	whole, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	present, err := list(ctx, heads, record)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	found := map[int]Difference{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	at := 0
	for _, part := range record.Parts {
		for _, o := range part.Objects {
			here := at
			at++
			group.Go(func() error {
				d, differs, err := o.differs(ctx, whole, present[listed{o.GVR(), o.Namespace}][o.Name])
				if differs {
					d.Part = part.Name
					mu.Lock()
					defer mu.Unlock()
					found[here] = d
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []Difference
	for i := range at {
		if d, ok := found[i]; ok {
			all = append(all, d)
		}
	}
	return outermost(all), nil
}

// outermost leaves out what is missing with its namespace.
func outermost(all []Difference) []Difference {
	gone := map[string]bool{}
	for _, d := range all {
		if d.Object.Kind == "Namespace" && len(d.What) == 0 {
			gone[d.Object.Name] = true
		}
	}
	return slices.DeleteFunc(all, func(d Difference) bool { return len(d.What) == 0 && gone[d.Object.Namespace] })
}

// list reads the metadata of all objects of the record's resources and namespaces, by name.
func list(ctx context.Context, client metadata.Interface, record Record) (map[listed]map[string]*metav1.PartialObjectMetadata, error) {
	wanted := map[listed]bool{}
	for _, part := range record.Parts {
		for _, o := range part.Objects {
			wanted[listed{o.GVR(), o.Namespace}] = true
		}
	}
	present := map[listed]map[string]*metav1.PartialObjectMetadata{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for l := range wanted {
		group.Go(func() error {
			objects, err := client.Resource(l.resource).Namespace(l.namespace).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) { // the resource's definition is gone
				return nil
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", l.resource.Resource, err)
			}
			byName := map[string]*metav1.PartialObjectMetadata{}
			for i := range objects.Items {
				byName[objects.Items[i].Name] = &objects.Items[i]
			}
			mu.Lock()
			defer mu.Unlock()
			present[l] = byName
			return nil
		})
	}
	return present, group.Wait()
}

// differs compares an object with its present metadata, nil if there is none, and if those do not
// decide it with the whole object.
func (o Object) differs(ctx context.Context, client dynamic.Interface, head *metav1.PartialObjectMetadata) (d Difference, differs bool, err error) {
	d.Object = o
	if head == nil || head.DeletionTimestamp != nil {
		return d, true, nil
	}
	if len(o.Owned) == 0 {
		return d, false, nil
	}
	set, err := parse(o.Owned)
	if err != nil {
		return d, false, fmt.Errorf("record of %s: %w", o, err)
	}
	if now, err := owned(head.ManagedFields, o.Manager); err == nil && now.Equals(set) {
		return d, false, nil
	}
	live, err := client.Resource(o.GVR()).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return d, true, nil
	}
	if err != nil {
		return d, false, fmt.Errorf("read %s: %w", o, err)
	}
	d.What = changes(o.Fields, values(live.Object, set))
	return d, len(d.What) > 0, nil
}
