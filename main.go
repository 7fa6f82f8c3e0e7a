// Netlab creates a Kubernetes cluster, with the networks and hosts around it, from one file,
// and verifies every communication path in it.
package main

import (
	"os"

	"netlab.dev/netlab/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
