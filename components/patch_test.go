package components

import (
	"strings"
	"testing"
	"testing/fstest"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

const upstreamManifest = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  template:
    spec:
      initContainers: [{name: prepare, image: a}, {name: keep, image: b}]
      containers: [{name: agent, image: c, env: [{name: MODE, value: Always}, {name: OTHER, value: stays}]}]
`

func TestPatchMergesByName(t *testing.T) {
	k := Component{Name: "k", files: fstest.MapFS{"patches.yaml": {Data: []byte(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  template:
    spec:
      initContainers: [{name: prepare, $patch: delete}]
      containers: [{name: agent, env: [{name: MODE, value: "{{ .Plan.Lab }}"}]}]
`)}}}
	objects, err := decode([]byte(upstreamManifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.patch(objects, View{Plan: topology.Plan{Lab: labs.MustName("never")}}); err != nil {
		t.Fatal(err)
	}
	text, err := objects[0].MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"name":"MODE","value":"never"}`, `{"name":"OTHER","value":"stays"}`, `"name":"keep"`, `"image":"c"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), "prepare") {
		t.Errorf("what is deleted is still in %s", text)
	}
}

func TestPatchOfNothing(t *testing.T) {
	k := Component{Name: "k", files: fstest.MapFS{"patches.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n")}}}
	if err := k.patch(nil, View{}); err == nil || !strings.Contains(err.Error(), "ConfigMap gone: object not found in upstream's manifests") {
		t.Errorf("got %v", err)
	}
}
