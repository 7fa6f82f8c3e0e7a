package components

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
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
// they are established; create what of Once does not exist; apply Objects in their order; wait
// for Ready, then for the expected answers to Asks; apply Config, which passes the component's
// own webhooks and so may be refused for a moment.
type Rendered struct {
	Name    string
	CRDs    []unstructured.Unstructured
	Once    []unstructured.Unstructured // keys and certificates: new at each rendering, so never applied over existing ones
	Objects []unstructured.Unstructured // the namespace first, then in Helm's order of kinds
	Ready   []Workload
	Asks    []Question
	Config  []unstructured.Unstructured
	Account *Account // of its service on outside hosts, which gets a kubeconfig at the end; nil: none
}

// Render returns what installs the set's components, in the order of installation: upstream's
// own chart or manifest, from the artifacts, with our values and patches over it, hooks and
// tests left out; and our objects. Components that are not installed into the cluster are left out.
func (s Set) Render(artifacts Artifacts) ([]Rendered, error) {
	var all []Rendered
	for _, k := range s.Components {
		if k.Install == nil {
			continue
		}
		r, err := k.render(s.Plan, artifacts)
		if err != nil {
			return nil, fmt.Errorf("render %s %s: %w", k.Name, k.Version, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (k Component) render(p topology.Plan, artifacts Artifacts) (Rendered, error) {
	out := Rendered{Name: k.Name, Asks: k.Install.Asks, Account: k.account(p), Objects: []unstructured.Unstructured{k.namespace()}}
	v := k.view(p, artifacts)
	upstream, err := k.upstream(artifacts, v)
	if err != nil {
		return Rendered{}, err
	}
	for _, o := range upstream {
		if o.GetKind() == "CustomResourceDefinition" {
			out.CRDs = append(out.CRDs, o)
		} else {
			out.Objects = append(out.Objects, o)
		}
	}
	for file, objects := range map[string]*[]unstructured.Unstructured{"once.yaml": &out.Once, "objects.yaml": &out.Config} {
		ours, err := k.fill(file, v)
		if err != nil {
			return Rendered{}, err
		}
		if *objects, err = decode(ours); err != nil {
			return Rendered{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, w := range k.Install.Ready {
		if w.With == "" || v.Lacking[w.With] == "" {
			out.Ready = append(out.Ready, w)
		}
	}
	return out, nil
}

// account is the component's Account in a plan, nil for none.
func (k Component) account(p topology.Plan) *Account {
	if k.Install.Account == nil {
		return nil
	}
	a := *k.Install.Account
	a.Namespace = k.Install.Namespace
	for _, m := range p.Hosts() {
		if m.Runs(k.Name) {
			a.Hosts = append(a.Hosts, m.Name)
		}
	}
	return &a
}

// upstream returns the objects of upstream's chart or manifest, with our patches, and its
// additional CRDs.
func (k Component) upstream(artifacts Artifacts, v View) ([]unstructured.Unstructured, error) {
	texts, err := k.texts(artifacts, v)
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
	if err := k.patch(objects, v); err != nil {
		return nil, err
	}
	for _, ref := range k.Install.CRDs {
		text, err := os.ReadFile(artifacts.Copies[ref])
		if err != nil {
			return nil, err
		}
		definitions, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		objects = append(objects, definitions...)
	}
	return objects, nil
}

// texts are the chart's rendered files, or the manifest.
func (k Component) texts(artifacts Artifacts, v View) ([][]byte, error) {
	if k.Install.Own != "" {
		text, err := k.fill(k.Install.Own, v)
		return [][]byte{text}, err
	}
	ref := k.Install.Chart + k.Install.Manifest
	path := artifacts.Copies[ref]
	if path == "" {
		return nil, fmt.Errorf("%s was not obtained", ref)
	}
	if k.Install.Chart != "" {
		return k.chart(path, v)
	}
	text, err := os.ReadFile(path)
	return [][]byte{text}, err
}

// namespace is the component's namespace, which charts do not create.
func (k Component) namespace() unstructured.Unstructured {
	ns := unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(k.Install.Namespace)
	ns.SetLabels(k.Install.Labels)
	return ns
}

// chart renders the component's chart in a directory.
func (k Component) chart(dir string, v View) ([][]byte, error) {
	filled, err := k.fill("values.yaml", v)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(filled, &values); err != nil {
		return nil, fmt.Errorf("values.yaml: %w", err)
	}
	return RenderChart(dir, k.Install.Release, k.Install.Namespace, values, v.Plan.Kubernetes.Version)
}

// Users is the name of the Rendered that is the user's own objects.
const Users = "manifests"

// RenderChart renders a chart, a directory or an archive: CRDs and then manifests in Helm's install
// order, without its hooks. A release without a name has the chart's. It contacts no cluster: the
// Kubernetes version is the plan's.
func RenderChart(path, release, namespace string, values map[string]any, kubernetes string) ([][]byte, error) {
	chart, err := loader.Load(path)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(chart, values); err != nil {
		return nil, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	version, err := common.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *version
	options := common.ReleaseOptions{Name: cmp.Or(release, chart.Name()), Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, options, capabilities)
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

// DecodeObjects splits YAML documents into objects.
func DecodeObjects(text []byte) ([]unstructured.Unstructured, error) { return decode(text) }

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
