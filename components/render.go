package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/topology"
)

// Rendered is what installs a component into a cluster. Apply CRDs and wait until
// they are established; create what of Once is not there; apply Objects in their
// order; wait for Ready, then for good answers to Asks; apply Config, which needs the component's own webhooks and so
// may be refused for a moment more.
type Rendered struct {
	Name    string
	CRDs    []unstructured.Unstructured
	Once    []unstructured.Unstructured // keys and certificates: made anew at each rendering, so never applied over
	Objects []unstructured.Unstructured // the namespace first, then in Helm's order of kinds
	Ready   []Workload
	Asks    []Question
	Config  []unstructured.Unstructured
}

// Objects renders a component for a plan: upstream's own chart or manifest, from the
// cache that Obtain filled with the plan's artifacts, with our values and patches over it,
// hooks and tests left out; and our objects. A component that is not installed into the cluster renders to nothing.
func (r Resolver) Objects(ctx context.Context, c Component, p topology.Plan, artifacts Artifacts) (Rendered, error) {
	out := Rendered{Name: c.Name}
	if c.Install == nil {
		return out, nil
	}
	wrap := func(err error) (Rendered, error) {
		return Rendered{}, fmt.Errorf("render %s %s: %w", c.Name, c.Version, err)
	}
	path, err := r.kept(c.Install.Chart + c.Install.Manifest)
	if err != nil {
		return wrap(err)
	}
	out.Objects = append(out.Objects, c.namespace())
	v := c.view(p, artifacts)
	upstream, err := c.upstream(path, v)
	if err != nil {
		return wrap(err)
	}
	for _, ref := range c.Install.CRDs {
		path, err := r.kept(ref)
		if err != nil {
			return wrap(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return wrap(err)
		}
		definitions, err := decode(text)
		if err != nil {
			return wrap(fmt.Errorf("%s: %w", ref, err))
		}
		upstream = append(upstream, definitions...)
	}
	for _, o := range upstream {
		if o.GetKind() == "CustomResourceDefinition" {
			out.CRDs = append(out.CRDs, o)
		} else {
			out.Objects = append(out.Objects, o)
		}
	}
	for file, objects := range map[string]*[]unstructured.Unstructured{"once.yaml": &out.Once, "objects.yaml": &out.Config} {
		ours, err := c.fill(file, v)
		if err != nil {
			return wrap(err)
		}
		if *objects, err = decode(ours); err != nil {
			return wrap(fmt.Errorf("%s: %w", file, err))
		}
	}
	for _, w := range c.Install.Ready {
		if w.With == "" || v.Lacking[w.With] == "" {
			out.Ready = append(out.Ready, w)
		}
	}
	out.Asks = c.Install.Asks
	return out, context.Cause(ctx)
}

// kept gives the path of "component/name", which a build keeps.
func (r Resolver) kept(ref string) (string, error) {
	m, rest, err := r.Catalog.copied(ref)
	if err != nil {
		return "", err
	}
	i, err := m.item()
	if err != nil {
		return "", err
	}
	if _, ok := r.have(i); !ok {
		return "", fmt.Errorf("%s is not in the cache %s", ref, r.Cache)
	}
	return filepath.Join(r.path(i), "files", rest), nil
}

// upstream gives the objects that upstream's chart or manifest makes, with our patches.
func (k Component) upstream(path string, v View) ([]unstructured.Unstructured, error) {
	var texts [][]byte
	var err error
	if k.Install.Chart != "" {
		texts, err = k.chart(path, v)
	} else {
		texts = make([][]byte, 1)
		texts[0], err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	var objects []unstructured.Unstructured
	for _, text := range texts {
		more, err := decode(text)
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	return objects, k.patch(objects, v)
}

// namespace is the component's own, which a chart leaves to whoever installs it.
func (k Component) namespace() unstructured.Unstructured {
	ns := unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(k.Install.Namespace)
	ns.SetLabels(k.Install.Labels)
	return ns
}

// chart renders the chart in a directory: CRDs and then manifests in Helm's install
// order. No cluster is asked: its version is the plan's.
func (k Component) chart(dir string, v View) ([][]byte, error) {
	filled, err := k.fill("values.yaml", v)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(filled, &values); err != nil {
		return nil, fmt.Errorf("values.yaml: %w", err)
	}
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(chart, values); err != nil {
		return nil, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	version, err := common.ParseKubeVersion(v.Plan.Kubernetes.Version)
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *version
	release := common.ReleaseOptions{Name: k.Install.Release, Namespace: k.Install.Namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	_, sorted, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, crd := range chart.CRDObjects() {
		out = append(out, crd.File.Data)
	}
	for _, m := range sorted {
		out = append(out, []byte(m.Content))
	}
	return out, nil
}

// decode splits YAML documents into objects.
func decode(text []byte) ([]unstructured.Unstructured, error) {
	var objects []unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var o unstructured.Unstructured
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
