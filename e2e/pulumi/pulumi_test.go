package pulumi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
)

// program is a lab with workers, its verification, and what a program does with them.
func program(workers int, trigger string) string {
	return fmt.Sprintf(`resources:
  lab:
    type: netlab:Lab
    properties:
      metadata: {name: %s}
      nodes:
      - {name: cp, role: control-plane}
      - {name: w, role: worker, count: %d}
      ingress: {name: none}
  verification:
    type: netlab:Verification
    properties:
      lab: ${lab.name}
      triggers: ["${lab.plan}", %s]
outputs:
  kubeconfig: ${lab.kubeconfig}
  nodes: ${lab.clusterNodes}
  summary: ${verification.summary}
`, nameLab, workers, trigger)
}

// TestPulumi is the life of a lab in a stack. Each part needs those before it.
func TestPulumi(t *testing.T) {
	s := newStack(t, nameLab, nameImported, nameCancelled)
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		run  func(*testing.T, stack)
	}{
		{"preview", previewed}, {"refused", refused}, {"up", made}, {"no change", unchanged}, {"secrets", secret}, {"function", found},
		{"a worker more", grown}, {"replace", replaced}, {"drift", drifted}, {"failing verification", failing}, {"destroy", destroyed},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			return
		}
	}
	providertest.NothingLeft(t, before, nameLab)
	t.Run("cancel", func(t *testing.T) { cancelled(t, s) })
	t.Run("timeout", func(t *testing.T) { late(t, s) })
	t.Run("import", func(t *testing.T) { imported(t, s) })
	for _, name := range []string{nameCancelled, nameImported} {
		providertest.NothingLeft(t, before, name)
	}
}

// A preview makes nothing and knows the plan.
func previewed(t *testing.T, s stack) {
	s.program(t, program(1, "1"))
	says(t, s.preview(t, "--diff"), "+ 3 to create", `"172.30.0.11"`, "kubeconfig: [unknown]", "summary   : [unknown]")
	if labs := s.run(t, 0, "netlab", "list", "-o", "json"); strings.Contains(labs, nameLab) {
		t.Errorf("a preview made %s", labs)
	}
}

// The loader's problem is on its property, before anything is made.
func refused(t *testing.T, s stack) {
	s.program(t, strings.Replace(program(1, "1"), "role: worker", "role: master", 1))
	says(t, s.run(t, 1, "pulumi", "preview", "--non-interactive", "--color=never"), `property nodes[1].role`, `"master" is not a Node role; supported: control-plane, worker`)
	s.program(t, program(1, "1"))
}

func made(t *testing.T, s stack) {
	out := s.up(t, 0)
	says(t, out, "3 created", "lab "+nameLab+": ", "0 fail, 0 broken")
	lab, verification := s.resource(t, "Lab"), s.resource(t, "Verification")
	if lab.ID != nameLab || lab.Outputs["name"] != nameLab || len(lab.Outputs["problems"].([]any)) > 0 {
		t.Errorf("lab %v", lab)
	}
	if s := verification.Outputs["summary"].(map[string]any); s["pass"].(float64) < 30 || s["fail"] != 0.0 {
		t.Errorf("summary %v", s)
	}
	says(t, s.run(t, 0, "netlab", "status", nameLab), "w1")
}

func unchanged(t *testing.T, s stack) {
	says(t, s.up(t, 0, "--expect-no-changes"), "3 unchanged")
}

// The kubeconfig works, and is nowhere in plain text.
func secret(t *testing.T, s stack) {
	says(t, s.run(t, 0, "pulumi", "stack", "output"), "kubeconfig  [secret]")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := s.run(t, 0, "pulumi", "stack", "output", "kubeconfig", "--show-secrets")
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, s.kubectl(t, "--kubeconfig", kubeconfig, "get", "nodes"), "cp ", "w1 ")
	out, err := exec.Command("grep", "-rl", "client-key-data", filepath.Join(s.dir, "backend"), filepath.Join(s.dir, "home")).Output()
	if len(out) > 0 {
		t.Errorf("the kubeconfig is in %s (%v)", out, err)
	}
}

// getLab finds the lab.
func found(t *testing.T, s stack) {
	s.program(t, strings.Replace(program(1, "1"), "outputs:\n", "variables:\n  seen:\n    fn::invoke: {function: netlab:getLab, arguments: {name: "+nameLab+"}}\noutputs:\n  seen: ${seen.outsideHosts}\n", 1))
	s.up(t, 0)
	// Pulumi makes the whole answer a secret, since the kubeconfig in it is one.
	says(t, s.run(t, 0, "pulumi", "stack", "output", "seen", "--show-secrets"), `"role":"router"`)
	s.program(t, program(1, "1"))
	s.up(t, 0)
}

// A worker is added to the same cluster, and the paths are verified again.
func grown(t *testing.T, s stack) {
	id := s.kubectl(t, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
	passed := s.resource(t, "Verification").Outputs["summary"].(map[string]any)["pass"].(float64)
	s.program(t, program(2, "1"))
	says(t, s.preview(t), "add machine w2", "~ 2 to update")
	says(t, s.up(t, 0), "2 updated")
	if now := s.kubectl(t, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"); now != id {
		t.Errorf("the cluster was %s and is %s", id, now)
	}
	if now := s.resource(t, "Verification").Outputs["summary"].(map[string]any)["pass"].(float64); now <= passed {
		t.Errorf("%v paths pass, with a worker less %v", now, passed)
	}
}

// What recreates the cluster is a replacement, and its preview says what that deletes.
func replaced(t *testing.T, s stack) {
	s.program(t, strings.Replace(program(2, "1"), "ingress:", "kubernetes: {podCIDR: 10.99.0.0/16}\n      ingress:", 1))
	says(t, s.preview(t), "recreate the cluster: kubernetes.podCIDRs changes from 10.244.0.0/16 to 10.99.0.0/16",
		"delete the disks of all its Nodes", "+-2 to replace")
	s.program(t, program(2, "1"))
}

// Refresh finds a Node that is gone and a load balancer that was deleted; the next update brings
// both back.
func drifted(t *testing.T, s stack) {
	s.run(t, 0, "netlab", "power", "off", nameLab, "w2")
	s.kubectl(t, "--namespace=metallb-system", "delete", "deployment", "metallb-controller")
	says(t, s.refresh(t), "w2 is off", "metallb-controller")
	if problems := s.resource(t, "Lab").Outputs["problems"].([]any); len(problems) < 2 {
		t.Errorf("problems %v", problems)
	}
	says(t, s.preview(t), "restore: ", "w2 is off", "~ 1 to update")
	says(t, s.up(t, 0), "updated")
	if problems := s.resource(t, "Lab").Outputs["problems"].([]any); len(problems) > 0 {
		t.Errorf("after an update: %v", problems)
	}
	s.run(t, 0, "netlab", "status", nameLab)
	says(t, s.refresh(t), "unchanged")
	s.up(t, 0, "--expect-no-changes")
}

// An update fails with the paths that are not as expected, and the next one verifies again.
func failing(t *testing.T, s stack) {
	// To the Pods of the control plane, from one worker. Netlab leaves routes alone that were added.
	s.run(t, 0, "netlab", "exec", nameLab, "w1", "--", "ip", "route", "add", "blackhole", "10.244.0.0/25")
	s.program(t, program(2, "2"))
	says(t, s.up(t, 1), "fail", "pod-to-pod-cross-node fail, ")
	v := s.resource(t, "Verification")
	if len(v.InitErrors) == 0 || v.Outputs["summary"].(map[string]any)["fail"].(float64) == 0 {
		t.Errorf("recorded: %v, %v", v.InitErrors, v.Outputs["summary"])
	}
	s.run(t, 0, "netlab", "exec", nameLab, "w1", "--", "ip", "route", "del", "blackhole", "10.244.0.0/25")
	says(t, s.up(t, 0), "1 updated")
	if v := s.resource(t, "Verification"); len(v.InitErrors) > 0 {
		t.Errorf("recorded: %v", v.InitErrors)
	}
}

func destroyed(t *testing.T, s stack) {
	says(t, s.destroy(t), "3 deleted")
	if r := s.resource(t, "Lab"); r != nil {
		t.Errorf("recorded: %v", r)
	}
	if labs := s.run(t, 0, "netlab", "list", "-o", "json"); strings.Contains(labs, nameLab) {
		t.Errorf("labs: %s", labs)
	}
}

const oneNode = `resources:
  lab:
    type: netlab:Lab
    properties:
      metadata: {name: %s}
      nodes: [{name: cp, role: control-plane}]
      hosts: []
      loadBalancer: {name: none}
      ingress: {name: none}
`

// Ctrl-C in the middle leaves a lab that the stack knows; the next update continues it, and one that
// recreates the cluster replaces it.
func cancelled(t *testing.T, s stack) {
	s.program(t, fmt.Sprintf(oneNode, nameCancelled))
	cmd := s.command("pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--color=never")
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "a Node starts", func() bool {
		nodes, _ := filepath.Glob(filepath.Join(s.dir, "state", nameCancelled, "nodes", "*", "runc", "*"))
		return len(nodes) > 0
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("it ended as if nothing had happened\n%s", out)
	}
	says(t, out.String(), "cancelled")
	if r := s.resource(t, "Lab"); r == nil || r.ID != nameCancelled || len(r.InitErrors) == 0 {
		t.Fatalf("recorded: %v\n%s", r, out)
	}
	says(t, s.up(t, 0), "1 updated")
	s.run(t, 0, "netlab", "status", nameCancelled)
	if r := s.resource(t, "Lab"); len(r.InitErrors) > 0 {
		t.Errorf("recorded: %v", r.InitErrors)
	}
	s.program(t, fmt.Sprintf(oneNode, nameCancelled)+"      kubernetes: {podCIDR: 10.99.0.0/16}\n")
	says(t, s.up(t, 0), "1 replaced")
	if plan := fmt.Sprint(s.resource(t, "Lab").Outputs["plan"]); !strings.Contains(plan, "10.99.0.0/16") {
		t.Errorf("recorded after a replacement: %s", plan)
	}
	s.destroy(t)
}

// customTimeouts bounds an operation; what there is by then is removed by destroy.
func late(t *testing.T, s stack) {
	s.program(t, fmt.Sprintf(oneNode, nameCancelled)+"    options: {customTimeouts: {create: 2s}}\n")
	says(t, s.up(t, 1), "not done within 2s (customTimeouts)")
	s.destroy(t)
}

// A lab that `netlab up` made becomes a resource, with the properties of its file, and is as its
// program says.
func imported(t *testing.T, s stack) {
	file := filepath.Join(s.dir, "imported.yaml")
	text := "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: " + nameImported + "}\nnodes: [{name: cp, role: control-plane}]\nhosts: []\nloadBalancer: {name: none}\ningress: {name: none}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, "netlab", "up", "--no-verify", file)
	s.program(t, fmt.Sprintf(oneNode, nameImported))
	says(t, s.up(t, 1), "lab "+nameImported+" already exists, made from "+file+"; import it")
	s.run(t, 0, "pulumi", "import", "netlab:index:Lab", "lab", nameImported, "--yes", "--skip-preview", "--generate-code=false", "--protect=false", "--non-interactive")
	r := s.resource(t, "Lab")
	if inputs := fmt.Sprint(r.Inputs["nodes"]); r.ID != nameImported || !strings.Contains(inputs, "control-plane") || slices.Contains([]any{nil, ""}, r.Outputs["kubeconfig"]) {
		t.Errorf("imported: %v", r)
	}
	s.up(t, 0, "--expect-no-changes")
	s.program(t, "resources:\n  lab:\n    type: netlab:Lab\n    properties: {file: imported.yaml}\n")
	s.up(t, 0)
	says(t, s.destroy(t), "2 deleted")
}
