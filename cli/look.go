package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// labStatus is a lab as `list` and `status` show it.
type labStatus struct {
	Lab      labs.Name       `json:"lab"`
	Provider string          `json:"provider"`
	Phase    string          `json:"phase"`
	Created  time.Time       `json:"created"`
	File     string          `json:"file"`
	Machines []machineStatus `json:"machines"`
	// NodeImage is what the Nodes are of, where they are of kindest/node: name:tag@digest.
	NodeImage string   `json:"nodeImage,omitempty"`
	Problems  []string `json:"problems,omitempty"`
}

type machineStatus struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
	Running bool   `json:"running"`
	Memory  int64  `json:"memoryBytes,omitempty"` // of a Node, page cache left out
}

func (a *app) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the labs of this machine",
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		names, err := a.allLabs()
		if err != nil {
			return err
		}
		all := []labStatus{}
		for _, name := range names {
			s := labStatus{Lab: name, Phase: "debris", Machines: []machineStatus{}}
			if state, err := a.root.Read(name); err == nil {
				s = labStatus{Lab: name, Provider: state.Plan.Provider, Phase: state.Phase, Created: state.Created, File: state.File, Machines: []machineStatus{}}
			}
			all = append(all, s)
		}
		if *output == formatJSON {
			return printJSON(a.stdout, all)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "LAB\tPROVIDER\tPHASE\tAGE\tFILE")
		for _, s := range all {
			age := ""
			if !s.Created.IsZero() {
				age = time.Since(s.Created).Round(time.Second).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Lab, s.Provider, s.Phase, age, s.File)
		}
		return w.Flush()
	}
	return c
}

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status [LAB]",
		Short: "Show what of a lab runs and what is wrong with it",
		Args:  cobra.MaximumNArgs(1),
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		running, state, err := a.running(cmd.Context(), args)
		if state.Plan.Lab.Check() != nil {
			return err
		}
		s := labStatus{Lab: state.Plan.Lab, Provider: state.Plan.Provider, Phase: state.Phase, Created: state.Created, File: state.File}
		s.NodeImage = state.Artifacts.Node.Over
		for _, m := range state.Plan.Machines {
			_, runs := running.Machines[m.Name] // none of a lab that is stopped
			s.Machines = append(s.Machines, machineStatus{m.Name, m.Role, m.Address().String(), runs, a.memory(state.Plan, m)})
		}
		if err := providers.Healthy(cmd.Context(), a.providers[s.Provider], state, a.root.Dir(s.Lab)); err != nil {
			for _, e := range joined(err) {
				s.Problems = append(s.Problems, e.Error())
			}
		}
		if *output == formatJSON {
			err = printJSON(a.stdout, s)
		} else {
			err = a.statusText(s)
		}
		if err == nil && len(s.Problems) > 0 {
			return exitStatus{1}
		}
		return err
	}
	return c
}

// memory is what a Node holds, in bytes; 0 where that is not counted.
func (a *app) memory(plan topology.Plan, m topology.Machine) int64 {
	meter, ok := a.providers[plan.Provider].(providers.Meter)
	if !ok || m.Kind != topology.KindNode {
		return 0
	}
	bytes, _ := meter.Memory(plan.Lab, m.Name)
	return bytes
}

func (a *app) statusText(s labStatus) error {
	fmt.Fprintf(a.stdout, "lab %s: %s (provider %s, made %s from %s)\n\n", s.Lab, s.Phase, s.Provider, s.Created.Local().Format(time.DateTime), s.File)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tROLE\tADDRESS\tRUNS\tMEMORY")
	for _, m := range s.Machines {
		runs, memory := "yes", ""
		if !m.Running {
			runs = "no"
		}
		if m.Memory > 0 {
			memory = fmt.Sprintf("%.0f MB", float64(m.Memory)/1e6)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, m.Role, m.Address, runs, memory)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if s.NodeImage != "" {
		fmt.Fprintf(a.stdout, "\nNodes are of %s\n", s.NodeImage)
	}
	for i, p := range s.Problems {
		if i == 0 {
			fmt.Fprintln(a.stdout, "\nproblems:")
		}
		fmt.Fprintln(a.stdout, "  "+p)
	}
	return nil
}
