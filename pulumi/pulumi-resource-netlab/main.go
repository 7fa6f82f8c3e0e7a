// Pulumi-resource-netlab is the plugin that Pulumi starts for resources of package netlab. It has
// to be on PATH, or installed by `pulumi plugin install resource netlab VERSION --file`, and
// netlab of the same build beside it or on PATH: Nodes and agents run that.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"netlab.dev/netlab/cli"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/pulumi"
)

// release is the version that the linker was given: `-X main.release=v0.2.0`.
var release string

func main() {
	// Providers start parts of themselves, such as the connection to a virtual machine.
	if code, played := cli.Play(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); played {
		os.Exit(code)
	}
	if len(os.Args) == 2 && os.Args[1] == "schema" { // for generators of SDKs
		os.Exit(schema(os.Stdout))
	}
	err := provider.Main("netlab", func(host *provider.HostClient) (pulumirpc.ResourceProviderServer, error) {
		p, err := newProvider(host)
		if err != nil {
			return nil, err
		}
		return plugin.NewProviderServer(p), nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

func newProvider(host *provider.HostClient) (*pulumi.Provider, error) {
	netlab, unready := companion()
	e, err := engine.FromEnvironment(netlab)
	if err != nil {
		return nil, err
	}
	if host == nil { // attached by hand, without a host to show messages
		return pulumi.New(e, unready, version(), nil), nil
	}
	return pulumi.New(e, unready, version(), host), nil
}

func version() semver.Version {
	v, err := semver.ParseTolerant(release)
	if err != nil || !strings.HasPrefix(release, "v") { // built without a tag
		return semver.Version{Pre: []semver.PRVersion{{VersionStr: "dev"}}}
	}
	return v
}

func schema(out io.Writer) int {
	p, err := newProvider(nil)
	if err == nil {
		var answer plugin.GetSchemaResponse
		if answer, err = p.GetSchema(nil, plugin.GetSchemaRequest{}); err == nil {
			_, err = out.Write(append(answer.Schema, '\n'))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2
	}
	return 0
}
