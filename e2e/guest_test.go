package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/report"
)

// guest: netlab keeps out of the way of what users put into a lab, and takes nothing of theirs
// for its own.
func (b *lab) guest(t *testing.T) {
	b.up(t)
	b.passes(t)          // the agents are there
	const own = "a-user" // lists have it before any Namespace of the lab
	b.kubectl(t, "create", "namespace", own)
	defer func() {
		b.kubectl(t, "uncordon", "w1")
		b.kubectl(t, "delete", "namespace", own)
	}()
	image := b.kubectl(t, "-n", "netlab-verify-guests", "get", "pod", "visitor", "-o", "jsonpath={.spec.containers[0].image}")
	manifest := filepath.Join(b.dir, "user.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, usersOwn, image), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "apply", "-f", manifest)
	b.kubectl(t, "drain", "w1", "--ignore-daemonsets", "--timeout=60s")
	b.kubectl(t, "-n", own, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")

	r := b.verify(t, 0)
	checkPasses(t, r)
	if !slices.ContainsFunc(r.Notices, func(n string) bool { return strings.Contains(n, "w1 is cordoned") }) {
		t.Errorf("the report does not say that w1 is cordoned: %q", r.Notices)
	}
	for machine, who := range map[string]string{"cp": "hostport", "w2": "hostnet"} {
		address := map[string]string{"cp": "172.30.0.10", "w2": "172.30.0.12"}[machine]
		if got := b.exec(t, "client", "curl -sS -m5 http://"+address+":8080/"); !strings.Contains(got, `"name":"`+who+`"`) {
			t.Errorf("%s:8080 is the user's, and answers %s", machine, got)
		}
	}
}

// usersOwn holds 8080 of two Nodes and a second ingress controller's Service with the chart's
// labels.
const usersOwn = `
apiVersion: v1
kind: Pod
metadata: {name: hostport, namespace: a-user, labels: {app: web}}
spec:
  nodeName: cp
  containers:
  - name: web
    image: %[1]s
    imagePullPolicy: Never
    command: [/usr/local/bin/netlab, agent, serve, --name, hostport]
    ports: [{containerPort: 8080, hostPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: hostnet, namespace: a-user, labels: {app: web}}
spec:
  nodeName: w2
  hostNetwork: true
  containers:
  - name: web
    image: %[1]s
    imagePullPolicy: Never
    command: [/usr/local/bin/netlab, agent, serve, --name, hostnet]
    ports: [{containerPort: 8080, hostPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata:
  name: ingress-nginx-controller
  namespace: a-user
  labels: {app.kubernetes.io/name: ingress-nginx, app.kubernetes.io/component: controller}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// refused: Pod Security that refuses the agents is named, and the other paths are judged.
func (b *lab) refused(t *testing.T) {
	b.up(t)
	b.passes(t)
	const label = "pod-security.kubernetes.io/enforce"
	b.kubectl(t, "label", "namespace", "--all", label+"=restricted", "--overwrite")
	undo := func() {
		b.kubectl(t, "label", "namespace", "--all", label+"=privileged", "--overwrite")
	}
	defer undo()
	b.kubectl(t, "-n", "netlab-verify", "delete", "pod", "node-w1")
	r := b.verify(t, 1)
	reason := regexp.MustCompile(`node-w1 .*: Namespace netlab-verify refuses it by its label ` + label + `=restricted: .*violates PodSecurity "restricted:latest"`)
	for _, p := range r.Paths {
		if p.Outcome != report.Pass && p.Outcome != report.Skip && (p.Outcome != report.Broken || !reason.MatchString(p.Reason)) {
			t.Errorf("%s: %s", p.Outcome, describe(p))
		}
	}
	if r.Summary.Pass < 30 || r.Summary.Broken == 0 {
		t.Errorf("%+v", r.Summary)
	}
	undo()
	b.passes(t)
}
