package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kubeconfig [LAB]",
		Short: "Print a lab's kubeconfig, or merge it into kubectl's",
		Long: "Print a lab's kubeconfig. With --merge add its cluster, user and context to the file that\n" +
			"kubectl uses ($KUBECONFIG, or ~/.kube/config), keep all its other entries, and print the name\n" +
			"of the context; --unmerge and `netlab down` remove them again, unless they were changed.\n" +
			"As with `kubectl config`, comments in the file are not kept.",
		Example: "  export KUBECONFIG=<(netlab kubeconfig quickstart)\n" +
			"  netlab kubeconfig quickstart > ~/.kube/quickstart\n" +
			"  kubectl --context $(netlab kubeconfig quickstart --merge) get nodes",
		Args: between(0, 1),
	}
	merge := c.Flags().Bool("merge", false, "merge it into the file that kubectl uses")
	unmerge := c.Flags().Bool("unmerge", false, "remove it from the file that kubectl uses")
	c.MarkFlagsMutuallyExclusive("merge", "unmerge")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		lab, err := a.lab(args)
		if err != nil {
			return err
		}
		switch {
		case *unmerge:
			files, err := a.engine.Unmerge(lab)
			a.unmerged(lab, files)
			return err
		case *merge:
			context, err := a.engine.Merge(lab)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, context)
			return err
		}
		data, err := a.engine.Kubeconfig(lab)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(data)
		return err
	}
	return c
}
