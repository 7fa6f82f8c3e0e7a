package manifests

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// runtimeObject is what the items of a list are.
type runtimeObject = runtime.Object

// podSpec is where an object of a kind has the specification of its Pods.
func podSpec(kind string) []string {
	switch kind {
	case "Pod":
		return []string{"spec"}
	case "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job":
		return []string{"spec", "template", "spec"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template", "spec"}
	}
	return nil
}

// images are those that an object's Pods need.
func images(o unstructured.Unstructured) (all []Image) {
	at := podSpec(o.GetKind())
	if at == nil {
		return nil
	}
	for _, list := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(o.Object, append(at[:len(at):len(at)], list)...)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			ref, _ := container["image"].(string)
			if ref == "" {
				continue
			}
			policy, _ := container["imagePullPolicy"].(string)
			all = append(all, Image{Ref: ref, Of: Called(o), Always: policy == "Always" || policy == "" && latest(ref)})
		}
	}
	return all
}

// latest reports whether Kubernetes pulls an image always by default.
func latest(ref string) bool {
	parsed, err := name.ParseReference(ref)
	tag, tagged := parsed.(name.Tag)
	return err == nil && tagged && tag.TagStr() == "latest"
}

// normal writes a reference as containerd does.
func normal(ref string) string {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return ref
	}
	return strings.Replace(parsed.Name(), "index.docker.io/", "docker.io/", 1)
}

// Why says what is to be done about a lacking image of a lab.
func (i Image) Why(lab string) string {
	if i.Always {
		return "image " + i.Ref + " of " + i.Of + " is pulled always, from a registry that Nodes reach: give it a tag other than latest, or imagePullPolicy IfNotPresent"
	}
	return "image " + i.Ref + " of " + i.Of + " is in no source; load it with `netlab load " + lab + " IMAGE.tar` when the lab is up"
}
