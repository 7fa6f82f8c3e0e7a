package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// status of an inner program becomes netlab's own exit status.
type exitStatus struct{ code int }

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", e.code) }

func (a *app) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec LAB MACHINE -- COMMAND [ARG...]",
		Short: "Run a command in a Node or an outside host",
		Long: "Run a command in a Node (all of its namespaces and its file system) or in an outside\n" +
			"host (its network namespace). The exit status is the command's own.",
		Example: "  netlab exec quickstart client -- curl http://172.30.0.200/\n" +
			"  netlab exec quickstart w1 -- ip route",
		Args: cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, args[0], args[1], args[2:]) },
	}
}

func (a *app) shellCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shell LAB MACHINE",
		Short: "Open a shell in a Node or an outside host",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, args[0], args[1], []string{"bash", "-i"})
		},
	}
}

// run runs a command in a machine, with our streams and our exit status.
func (a *app) run(cmd *cobra.Command, lab, machine string, argv []string) error {
	running, _, err := a.running(cmd.Context(), []string{lab})
	m, found := running.Machines[machine]
	if !found {
		var names []string
		for _, m := range running.Plan.Machines {
			names = append(names, m.Name)
		}
		if slices.Contains(names, machine) || err != nil && len(names) == 0 {
			return err
		}
		return hint.With(fmt.Errorf("lab %s has no machine %q", lab, machine), "its machines are "+strings.Join(names, ", "))
	}
	c := m.Command(cmd.Context(), argv...)
	// In the foreground: the terminal's own signals and job control reach it.
	c.SysProcAttr, c.Cancel = nil, nil
	return a.attach(c)
}

// attach runs a program with our streams.
func (a *app) attach(c *exec.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = a.stdin, a.stdout, a.stderr
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitStatus{max(exit.ExitCode(), 1)}
	}
	return err
}

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "kubectl LAB -- ARG...",
		Short:   "Run kubectl against a lab",
		Example: "  netlab kubectl quickstart -- get pods -A -o wide",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, state, err := a.running(cmd.Context(), args[:1])
			if state.Plan.Lab.Check() != nil || state.Phase == providers.PhaseStopped {
				return err
			}
			program := state.Artifacts.Programs["kubectl"]
			if program == "" {
				return hint.With(fmt.Errorf("lab %s is not made yet", state.Plan.Lab), "go on with `netlab up "+state.File+"`")
			}
			c := exec.CommandContext(cmd.Context(), program, args[1:]...)
			c.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(a.root.Dir(state.Plan.Lab), "kubeconfig"))
			return a.attach(c)
		},
	}
}

func (a *app) loadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load LAB IMAGE.tar",
		Short: "Load an OCI or docker image archive into every Node",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			running, _, err := a.running(cmd.Context(), args[:1])
			if err != nil {
				return err
			}
			shown := a.progress()
			defer shown.Close()
			return providers.LoadImage(cmd.Context(), running, args[1], shown.Step)
		},
	}
}

func (a *app) logsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logs LAB [MACHINE]",
		Short: "Print the logs of a lab's machines: containerd, kubelet, PID 1, outside hosts",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := a.labNamed(args[0])
			if err != nil {
				return err
			}
			pattern := "*"
			if len(args) > 1 {
				pattern = args[1]
			}
			if state, err := a.root.Read(name); err == nil && state.Plan.Capabilities.OwnKernel {
				if err := a.fetchLogs(cmd.Context(), name, pattern); err != nil {
					fmt.Fprintln(a.stderr, "note: logs of Nodes may be out of date:", err)
				}
			}
			logs := filepath.Join(a.root.Dir(name), "logs")
			files, _ := filepath.Glob(filepath.Join(logs, pattern, "*.log"))
			flat, _ := filepath.Glob(filepath.Join(logs, pattern+".log"))
			files = append(files, flat...)
			if len(files) == 0 {
				return hint.With(fmt.Errorf("there are no logs in %s", logs), "`netlab list` names the labs, `netlab status LAB` their machines")
			}
			for _, file := range files {
				rel, _ := filepath.Rel(logs, file)
				fmt.Fprintf(a.stdout, "==> %s <==\n", rel)
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				_, err = io.Copy(a.stdout, f)
				f.Close()
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// fetchLogs brings what virtual machines keep themselves; attaching brings the consoles of
// those on other machines.
func (a *app) fetchLogs(ctx context.Context, lab labs.Name, pattern string) error {
	running, _, err := a.attached(ctx, lab)
	var all errgroup.Group
	for name, m := range running.Machines {
		if wanted, _ := filepath.Match(pattern, name); !wanted {
			continue
		}
		if f, ok := m.(providers.LogFetcher); ok {
			all.Go(func() error { return f.FetchLogs(ctx) })
		}
	}
	return errors.Join(err, all.Wait())
}
