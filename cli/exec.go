package cli

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
)

func (a *app) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec LAB MACHINE -- COMMAND [ARG...]",
		Short: "Run a command in a Node or an outside host",
		Long: "Run a command in a Node or an outside host: in its namespaces and its file system, with\n" +
			"TERM and LANG of the caller's environment. The exit status is that of the command.",
		Example: "  netlab exec quickstart client -- curl http://172.30.0.200/\n" +
			"  netlab exec quickstart w1 -- ip route",
		Args: between(3, many),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, args[0], args[1], args[2:]) },
	}
}

// run runs a command in a machine, with netlab's streams, and passes its exit status on.
func (a *app) run(cmd *cobra.Command, arg, machine string, argv []string) error {
	lab, err := a.lab([]string{arg})
	if err != nil {
		return err
	}
	m, err := a.engine.Machine(cmd.Context(), lab, machine)
	if err != nil {
		return err
	}
	c := m.Command(cmd.Context(), argv...)
	// In the foreground: the terminal's own signals and job control reach it.
	c.SysProcAttr, c.Cancel = nil, nil
	return a.foreground(c)
}

// exitStatus is the exit status of a program that a verb ran; netlab exits with it too.
type exitStatus struct{ code int }

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// foreground runs a program with our streams.
func (a *app) foreground(c *exec.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = a.stdin, a.stdout, a.stderr
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitStatus{max(exit.ExitCode(), 1)}
	}
	return err
}
