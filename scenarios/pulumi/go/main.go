// A program that makes a lab by Pulumi's Automation API, verifies it, gives its kubeconfig to
// another resource, uses the cluster, and removes everything. Neither a project directory nor the
// language host of Go programs is needed: the program is inline.
//
//	make pulumi
//	cd scenarios/pulumi/go && PATH=$PWD/../../../bin:$PATH go run .
//
// Pulumi's command line has to be on PATH too. The stack is kept in files of a temporary
// directory, so that no account is needed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"netlab.dev/pulumi-netlab/sdk/go/netlab"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// lab is the stack's program: the resources.
func lab(ctx *pulumi.Context) error {
	lab, err := netlab.NewLab(ctx, "lab", &netlab.LabArgs{
		Metadata: &netlab.MetadataArgs{Name: pulumi.String("pulumi-go")},
		Nodes: netlab.NodeGroupArray{
			&netlab.NodeGroupArgs{Name: pulumi.String("cp"), Role: pulumi.String("control-plane")},
			&netlab.NodeGroupArgs{Name: pulumi.String("w"), Role: pulumi.String("worker")},
		},
		Ingress: &netlab.IngressArgs{Name: pulumi.String("none")},
	}, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "30m"}))
	if err != nil {
		return err
	}
	paths, err := netlab.NewVerification(ctx, "paths", &netlab.VerificationArgs{Lab: lab.Name, Triggers: pulumi.Array{lab.Plan}})
	if err != nil {
		return err
	}
	// Any resource can need the kubeconfig; Pulumi's own Stash keeps it in the stack, as a secret.
	access, err := pulumi.NewStash(ctx, "access", &pulumi.StashArgs{Input: lab.Kubeconfig})
	if err != nil {
		return err
	}
	ctx.Export("nodes", lab.ClusterNodes)
	ctx.Export("paths", paths.Summary)
	ctx.Export("kubeconfig", access.Output)
	return nil
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "netlab-pulumi-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stack, err := auto.UpsertStackInlineSource(ctx, "dev", "netlab-go", lab,
		auto.Project(workspace.Project{Name: tokens.PackageName("netlab-go"), Runtime: workspace.NewProjectRuntimeInfo("go", nil),
			Backend: &workspace.ProjectBackend{URL: "file://" + dir}}),
		auto.EnvVars(map[string]string{"PULUMI_CONFIG_PASSPHRASE": "x"}))
	if err != nil {
		return err
	}
	// The lab goes whatever happens: this is an example.
	defer func() {
		_, gone := stack.Destroy(context.WithoutCancel(ctx), optdestroy.ProgressStreams(os.Stdout))
		err = errors.Join(err, gone)
	}()
	made, err := stack.Up(ctx, optup.ProgressStreams(os.Stdout))
	if err != nil {
		return err
	}
	fmt.Println("paths:", made.Outputs["paths"].Value)
	return pods(ctx, dir, made.Outputs["kubeconfig"])
}

// pods lists the cluster's Pods by the kubeconfig of the stack.
func pods(ctx context.Context, dir string, kubeconfig auto.OutputValue) error {
	text, ok := kubeconfig.Value.(string)
	if !ok || !kubeconfig.Secret {
		return fmt.Errorf("the stack's kubeconfig is not a secret text: %T", kubeconfig.Value)
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "netlab", "kubectl", "pulumi-go", "--", "--kubeconfig", file, "get", "pods", "--all-namespaces")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
