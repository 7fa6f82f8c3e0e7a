package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/components/cloud/controller"
	"netlab.dev/netlab/components/outside-dns/nameserver"
	"netlab.dev/netlab/providers/kind"
	"netlab.dev/netlab/providers/libvirt"
	"netlab.dev/netlab/providers/libvirt/guest"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/verify/agent"
)

// Play runs the programs of a lab that the netlab executable contains: PID 1 of a Node, the
// agent of a Pod or an outside host, the outside DNS server, a cloud's load balancer and controller,
// the forwarder to the API server, the helper of kind that creates containers and the one of libvirt that makes networks on
// another machine. They are looked for before the verbs: they run without a home directory,
// a cache or a user, and have to start fast.
func Play(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int, played bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case "agent":
		return agent.Main(args[1:], stdout, stderr), true
	case nameserver.Verb:
		return nameserver.Main(args[1:], stderr), true
	case balancer.Verb:
		return balancer.Main(args[1:], stderr), true
	case controller.Verb:
		return controller.Main(args[1:], stderr), true
	case kind.HelperVerb:
		return kind.CreateMain(stdin, stderr), true
	case "init":
		return pid1.Main(args[1:], stderr), true
	case guest.Verb:
		return guest.Main(args[1:], stderr), true
	case libvirt.Verb:
		return libvirt.CommandMain(args[1:], os.Stdin, stdout, stderr), true
	case libvirt.RemoteVerb:
		return libvirt.RemoteMain(stdin, stdout, stderr), true
	case "forward":
		if len(args) != 4 {
			return 0, false
		}
		fmt.Fprintln(stderr, "error:", local.ForwardMain(context.Background(), args[1], args[2], args[3]))
		return exitFault, true
	}
	return 0, false
}
