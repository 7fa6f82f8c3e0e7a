// Netlab makes a whole Kubernetes cluster, with the networks and hosts around it,
// from one file, and proves that every path of communication in it works.
package main

import (
	"os"

	"netlab.dev/netlab/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
