package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/kubeconfig"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kubeconfig [LAB]",
		Short: "Print a lab's kubeconfig, or merge it into kubectl's own",
		Long: "Print a lab's kubeconfig. With --merge put its cluster, user and context into the file that\n" +
			"kubectl uses ($KUBECONFIG, or ~/.kube/config) beside all that is there, and print the name of\n" +
			"the context; --unmerge and `netlab down` take them out again, unless they were changed since.\n" +
			"As with `kubectl config`, comments in the file are not kept.",
		Example: "  export KUBECONFIG=<(netlab kubeconfig quickstart)\n" +
			"  netlab kubeconfig quickstart > ~/.kube/quickstart\n" +
			"  kubectl --context $(netlab kubeconfig quickstart --merge) get nodes",
		Args: cobra.MaximumNArgs(1),
	}
	merge := c.Flags().Bool("merge", false, "put it into the file that kubectl uses")
	unmerge := c.Flags().Bool("unmerge", false, "take it out of the file that kubectl uses")
	c.MarkFlagsMutuallyExclusive("merge", "unmerge")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if *unmerge {
			lab, err := a.lab(args)
			if err != nil {
				return err
			}
			return a.unmerge(lab)
		}
		_, state, err := a.running(cmd.Context(), args)
		if state.Plan.Lab.Check() != nil {
			return err
		}
		lab := state.Plan.Lab
		data, err := os.ReadFile(a.kubeconfig(lab))
		if err != nil {
			return hint.With(err, "the lab has no API server yet; go on with `netlab up "+state.File+"`")
		}
		if !*merge {
			_, err = a.stdout.Write(data)
			return err
		}
		all, into := kubeconfig.Files()
		if into, err = filepath.Abs(into); err != nil {
			return err
		}
		// Where it went is written down first: `down` looks there, whatever $KUBECONFIG is then.
		if err := a.recordMerge(lab, into); err != nil {
			return err
		}
		context, err := kubeconfig.Merge(into, all, lab, data)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, context)
		return nil
	}
	return c
}

// kubeconfig is the path of a lab's own.
func (a *app) kubeconfig(lab labs.Name) string { return filepath.Join(a.root.Dir(lab), "kubeconfig") }

// mergedFile, in a lab's state directory, lists the files that its kubeconfig was merged into.
const mergedFile = "merged"

// merged gives those files.
func (a *app) merged(lab labs.Name) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(a.root.Dir(lab), mergedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' }), err
}

func (a *app) recordMerge(lab labs.Name, file string) error {
	files, err := a.merged(lab)
	if err != nil || slices.Contains(files, file) {
		return err
	}
	return atomicfile.Write(filepath.Join(a.root.Dir(lab), mergedFile), []byte(strings.Join(append(files, file), "\n")+"\n"), 0o644)
}

// unmerge takes a lab's entries out of the files that it was merged into, and of those that
// kubectl reads now: the lab's state may be lost.
func (a *app) unmerge(lab labs.Name) error {
	files, errs := a.merged(lab)
	now, _ := kubeconfig.Files()
	for i, file := range append(files, now...) {
		found, err := kubeconfig.Unmerge(file, lab)
		if i >= len(files) && !found {
			continue // nothing says that it was ever merged there
		}
		if err != nil {
			errs = errors.Join(errs, hint.With(fmt.Errorf("take lab %s out of %s: %w", lab, file, err), "mend the file, or remove the lab's context from it by hand"))
		} else if found {
			fmt.Fprintf(a.stderr, "took lab %s out of %s\n", lab, file)
		}
	}
	return errs
}

// remerge brings the files that a lab was merged into up to date: its API server may be at
// another port than before.
func (a *app) remerge(lab labs.Name) error {
	files, errs := a.merged(lab)
	for _, file := range files {
		if there, err := kubeconfig.Has(file, lab); err != nil || !there {
			errs = errors.Join(errs, err)
			continue // the user took it out
		}
		data, err := os.ReadFile(a.kubeconfig(lab))
		if err == nil {
			_, err = kubeconfig.Merge(file, nil, lab, data)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}
