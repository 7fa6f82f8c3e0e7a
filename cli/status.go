package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/providers"
)

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status [LAB]",
		Short: "Show the machines of a lab and what is wrong with it",
		Args:  between(0, 1),
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		lab, err := a.lab(args)
		if err != nil {
			return err
		}
		s, err := a.engine.Status(cmd.Context(), lab)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			err = printJSON(a.stdout, s)
		} else {
			err = a.statusText(s)
		}
		if err == nil && len(s.Problems) > 0 {
			return exitStatus{exitPath}
		}
		return err
	}
	return c
}

func (a *app) statusText(s engine.LabStatus) error {
	fmt.Fprintf(a.stdout, "lab %s: %s (provider %s, created %s from %s)\n\n", s.Lab, s.Phase, s.Provider, s.Created.Local().Format(time.DateTime), s.File)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tROLE\tADDRESS\tRUNNING\tMEMORY")
	for _, m := range s.Machines {
		runs, memory := "yes", ""
		if len(m.LinksDown) > 0 {
			runs += ", " + strings.Join(m.LinksDown, " ") + " down"
		}
		for _, nic := range slices.Sorted(maps.Keys(m.Impaired)) {
			runs += fmt.Sprintf(", %s impaired (%s)", nic, m.Impaired[nic])
		}
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
	if err := cmp.Or(a.sessionsText(s.Sessions), a.sharedText(s.SharedVIPs), a.balancersText(s.Balancers)); err != nil {
		return err
	}
	if s.NodeImage != "" {
		fmt.Fprintf(a.stdout, "\nnode image: %s\n", s.NodeImage)
	}
	for i, p := range s.Problems {
		if i == 0 {
			fmt.Fprintln(a.stdout, "\nproblems:")
		}
		fmt.Fprintln(a.stdout, "  "+p)
	}
	if len(s.Problems) > 0 && s.Phase == providers.PhaseUp {
		fmt.Fprintf(a.stdout, "`netlab up %s` restores what differs\n", s.File)
	}
	return nil
}

// sharedText writes the VIPs that hosts share; nothing where there are none.
func (a *app) sharedText(vips []engine.SharedVIPStatus) error {
	if len(vips) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nSHARED VIP\tNETWORK\tHOSTS\tHELD BY")
	for _, v := range vips {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.VIP, v.Network, strings.Join(v.Hosts, " "), cmp.Or(strings.Join(v.Holders, " "), "none"))
	}
	return w.Flush()
}

// balancersText writes what a load balancer outside the cluster does; nothing where there is none.
func (a *app) balancersText(balancers []engine.BalancerStatus) error {
	if len(balancers) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nVIP\tPORT\tSERVICE\tNODEPORT\tCHECK\tHEALTHY\tOUT")
	for _, b := range balancers {
		var out []string
		for _, o := range b.Out {
			out = append(out, o.Node)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", b.VIP, b.Port, b.Service, b.NodePort, b.Check, cmp.Or(strings.Join(b.Healthy, " "), "none"), cmp.Or(strings.Join(out, " "), "-"))
	}
	return w.Flush()
}

// sessionsText writes the BGP sessions of routers; nothing where there are none.
func (a *app) sessionsText(sessions []engine.SessionStatus) error {
	if len(sessions) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nROUTER\tPEER\tADDRESS\tAS\tSTATE\tSINCE\tPREFIXES IN\tOUT\tBFD")
	for _, s := range sessions {
		since, bfd := "never", "-"
		if !s.Since.IsZero() {
			since = s.Since.Local().Format(time.DateTime)
		}
		if s.BFD != nil {
			bfd = s.BFD.Status
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\n", s.Router, cmp.Or(s.Name, "?"), s.Peer, s.ASN, s.State, since, s.Received, s.Sent, bfd)
	}
	return w.Flush()
}
