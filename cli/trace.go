package cli

import (
	"github.com/spf13/cobra"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/run"
)

func (a *app) traceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace LAB FROM TO",
		Short: "Trace a packet hop by hop from one endpoint to another",
		Long: "Send one request from FROM to TO, capture on every interface between them, and show where\n" +
			"the packets were seen and what changed on the way: NAT, tunnels, TTL. FROM is a Node, an\n" +
			"outside host or one of the Pods with an agent; TO is any Pod or Service\n" +
			"(NAME or NAMESPACE/NAME), a Node, a host, an address or a URL. Exit status 1: no answer.",
		Example: "  netlab trace quickstart echo-w1 echo-w2\n" +
			"  netlab trace quickstart client echo-lb\n" +
			"  netlab trace quickstart echo-w1 kube-system/kube-dns --port 9153\n" +
			"  netlab trace quickstart echo-w1 http://203.0.113.100:8080/",
		Args: between(3, 3),
	}
	output := outputFlag(c)
	var way run.TraceRequest
	var pcap string
	c.Flags().IntVar(&way.Port, "port", 0, "destination `port` (default: TO's own)")
	c.Flags().StringVar(&pcap, "pcap", "", "also write the packets to a file in this `directory`")
	offer(c, "pcap", directories)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		lab, err := a.lab(args[:1])
		if err != nil {
			return err
		}
		way.From, way.To = args[1], args[2]
		traced, err := a.engine.Trace(cmd.Context(), lab, way, pcap)
		if err != nil {
			return err
		}
		write := traced.WriteText
		if *output == formatJSON {
			write = traced.WriteJSON
		}
		if err := write(a.stdout); err != nil {
			return err
		}
		if traced.Outcome != agent.Reply {
			return exitStatus{exitPath}
		}
		return nil
	}
	return c
}
