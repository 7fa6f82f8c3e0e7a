package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

func (a *app) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plan FILE",
		Short:   "Print the plan of a lab file and what `up` would change",
		Example: "  netlab plan scenarios/quickstart.yaml\n  netlab plan lab.yaml -o json | jq .machines",
		Args:    between(1, 1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := a.resolve(args[0])
		if err != nil {
			return err
		}
		if err := a.engine.Heeds(set, args[0]); err != nil {
			return err
		}
		plan := set.Plan
		theirs, err := a.engine.Manifests(set, args[0])
		if err != nil {
			return err
		}
		for _, note := range theirs.Notes(plan.Lab.String()) {
			fmt.Fprintf(a.stderr, "%s %s\n", painterFor(a.stderr).warn("note:"), note)
		}
		changes, err := a.engine.Changes(cmd.Context(), plan, theirs)
		var foreign *providers.VersionError
		if errors.As(err, &foreign) { // what `up` would change cannot be known
			fmt.Fprintf(a.stderr, "%s %v; %s\n", painterFor(a.stderr).warn("note:"), foreign, foreign.Hint())
		} else if err != nil {
			return err
		}
		for _, p := range a.engine.KernelUnmet(set, args[0]) {
			fmt.Fprintf(a.stderr, "%s %v\n", painterFor(a.stderr).warn("note:"), p)
		}
		outlook, err := a.engine.Outlook(set)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, struct {
				topology.Plan
				Components []components.Selected `json:"components"`
				Software   artifacts.Outlook     `json:"software"`
				Objects    [][2]string           `json:"objects,omitempty"` // of the user's manifests: source and name
				Changes    *topology.Changes     `json:"changes,omitempty"` // nil: no such lab exists
			}{plan, set.Selected(), outlook, theirs.Objects(), changes})
		}
		if err := printPlan(a.stdout, set, outlook, theirs); err != nil || changes == nil {
			return err
		}
		fmt.Fprintf(a.stdout, "\nlab %s exists; `netlab up` would\n", plan.Lab)
		for _, line := range changes.Lines() {
			fmt.Fprintln(a.stdout, "  "+line)
		}
		if changes.None() {
			fmt.Fprintln(a.stdout, "  change nothing")
		}
		if len(changes.Remake) > 0 {
			fmt.Fprintln(a.stdout, "which requires --remake, or a yes on a terminal")
		}
		return nil
	}
	return cmd
}

// printPlan writes a plan as tables: networks, machines, routes, cluster, components.
func printPlan(w io.Writer, set components.Set, outlook artifacts.Outlook, theirs engine.Manifests) error {
	p, t := set.Plan, &tables{w: w}
	provider := p.Provider
	if p.Settings != nil {
		provider += ", " + p.Settings.Summary
	}
	api := p.Kubernetes.API.String()
	if p.HighlyAvailable() {
		api += " on " + p.APIEndpoint().Name
	}
	t.rows(
		[]string{"lab", p.Lab.String()},
		[]string{"provider", provider + map[bool]string{true: ", with host access"}[p.HostAccess]},
		[]string{"Kubernetes", fmt.Sprintf("%s, API at %s, kube-proxy %s", p.Kubernetes.Version, api, p.Kubernetes.Proxy)},
		[]string{"Pods", p.Kubernetes.PodCIDR().String()},
		[]string{"Services", fmt.Sprintf("%s, API %s, DNS %s, domain %s", p.Kubernetes.ServiceCIDR(), p.Kubernetes.APIService, p.Kubernetes.DNS(), p.Kubernetes.Domain)},
		[]string{"CNI", cniText(p.CNI)},
		[]string{"load balancer", words(p.LoadBalancer.Name, p.LoadBalancer.Version, p.LoadBalancer.Mode)},
		[]string{"Ingress", words(p.Ingress.Name, p.Ingress.Version, p.Ingress.Service)},
		[]string{"software", softwareText(outlook)},
	)

	networks := [][]string{{"NETWORK", "CIDR", "MTU", "GATEWAY", "BRIDGE"}}
	for _, n := range p.Networks {
		gateway := "-"
		if n.Gateway().IsValid() {
			gateway = n.Gateway().String()
		}
		bridge := n.Bridge
		if n.Uplink != "" {
			bridge += " + " + n.Uplink
		}
		if n.VLAN != 0 {
			bridge += fmt.Sprintf(", VLAN %d", n.VLAN)
		}
		if n.VNI != 0 {
			bridge += fmt.Sprintf(" + VXLAN %d", n.VNI)
		}
		networks = append(networks, []string{n.Name, n.CIDR().String(), fmt.Sprint(n.MTU), gateway, bridge})
	}
	t.rows(networks...)

	impaired := [][]string{{"IMPAIRED NETWORK", "DELAY", "JITTER", "LOSS", "RATE"}}
	for _, n := range p.Networks {
		if i := n.Impair; !i.None() {
			impaired = append(impaired, []string{n.Name, orDash(i.Delay), orDash(i.Jitter), orDash(i.Loss), orDash(i.Rate)})
		}
	}
	t.table(impaired)

	machines := [][]string{{"MACHINE", "ROLE", "NIC", "NETWORK", "ADDRESS", "MAC", "PORT"}}
	for _, m := range p.Machines {
		name, role := m.Name, m.Role
		for _, n := range m.NICs {
			machines = append(machines, []string{name, role, n.Name, n.Network, n.Address().String(), n.MAC, n.Port})
			name, role = "", ""
		}
	}
	t.rows(machines...)

	remote := [][]string{{"REMOTE NODE", "HYPERVISOR"}}
	for _, m := range p.Machines {
		if m.Remote != "" {
			remote = append(remote, []string{m.Name, m.Remote})
		}
	}
	t.table(remote)

	routes := [][]string{{"ROUTE OF", "TO", "VIA"}}
	for _, m := range p.Machines {
		for _, r := range m.Routes {
			routes = append(routes, []string{m.Name, r.To.String(), r.Via.String()})
		}
	}
	t.table(routes)

	shared := [][]string{{"SHARED VIP", "NETWORK", "HOSTS"}}
	for _, s := range p.Shared() {
		shared = append(shared, []string{s.VIP.String(), s.Network, strings.Join(s.Hosts, " ")})
	}
	t.table(shared)

	sessions := [][]string{{"BGP OF", "AS", "PEER", "AS", "NETWORK", "ADDRESS", "PEER ADDRESS", "BFD"}}
	learned := [][]string{{"LEARNED BY", "TO", "VIA"}}
	bgp := p.Routes(nil)
	for _, m := range p.WithRole(topology.RoleRouter) {
		if m.Routing == nil {
			continue
		}
		for _, s := range m.Routing.Sessions {
			sessions = append(sessions, []string{m.Name, fmt.Sprint(m.Routing.ASN), s.Peer, fmt.Sprint(s.ASN), s.Network, s.Local.String(), s.Remote.String(), map[bool]string{true: "yes", false: "no"}[s.BFD]})
		}
		for _, r := range bgp.Learned(m.Name) {
			learned = append(learned, []string{m.Name, r.To.String(), strings.Trim(fmt.Sprint(r.Via), "[]")})
		}
	}
	t.table(sessions)
	t.table(learned)

	pools := [][]string{{"POOL IN", "FIRST", "LAST"}}
	for _, l := range p.LoadBalancer.Pools {
		pools = append(pools, []string{cmp.Or(l.Network, "no network"), l.First.String(), l.Last.String()})
	}
	t.table(pools)

	names := [][]string{{"NAME", "ADDRESS"}}
	for _, n := range slices.Sorted(maps.Keys(p.Names)) {
		names = append(names, []string{n, p.Records()[n]})
	}
	t.table(names)

	objects := [][]string{{"MANIFEST", "OBJECT"}}
	for _, o := range theirs.Objects() {
		objects = append(objects, o[:])
	}
	t.table(objects)

	software := [][]string{{"COMPONENT", "VERSION", "KIND"}}
	for _, s := range set.Selected() {
		software = append(software, []string{s.Name, s.Version, s.Kind})
	}
	t.table(software)
	return t.err
}

// orDash is a value as text, - for the zero value.
func orDash[T interface {
	comparable
	fmt.Stringer
}](v T) string {
	var zero T
	if v == zero {
		return "-"
	}
	return v.String()
}

// tables writes aligned columns, a blank line between one table and the next.
type tables struct {
	w       io.Writer
	started bool
	err     error
}

// table writes rows below a heading, and nothing if there are no rows.
func (t *tables) table(rows [][]string) {
	if len(rows) > 1 {
		t.rows(rows...)
	}
}

func (t *tables) rows(rows ...[]string) {
	if t.started {
		fmt.Fprintln(t.w)
	}
	t.started = true
	tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); t.err == nil {
		t.err = err
	}
}

// softwareText counts the artifacts of a lab by where they are or would come from.
func softwareText(o artifacts.Outlook) string {
	count := map[string]int{}
	for _, a := range o.Artifacts {
		switch {
		case a.From != "":
			count["cached"]++
		case len(a.Could) == 0:
			count["missing"]++
		case a.Could[0] == string(artifacts.Registry):
			count["to pull"]++
		case a.Could[0] == string(artifacts.Build):
			count["to build"]++
		default:
			count["to download"]++
		}
	}
	parts := []string{fmt.Sprintf("%d of %d artifacts cached", count["cached"], len(o.Artifacts))}
	for _, what := range []string{"to download", "to pull", "to build", "missing"} {
		if count[what] == 0 {
			continue
		}
		part := fmt.Sprintf("%d %s", count[what], what)
		switch {
		case what == "to pull" && o.OtherwiseSeconds > 0:
			part += fmt.Sprintf(" (or to build, %s)", about(o.OtherwiseSeconds))
		case what == "to build" && o.BuildSeconds > 0:
			part += fmt.Sprintf(" (%s)", about(o.BuildSeconds))
		case what == "missing":
			part += " (no source may be asked)"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// about is an estimate of a time in seconds.
func about(seconds int) string {
	if seconds < 90 {
		return fmt.Sprintf("about %d s", seconds)
	}
	return fmt.Sprintf("about %d min", (seconds+30)/60)
}

func cniText(c labs.CNI) string {
	text := words(c.Name, c.Version)
	for _, option := range slices.Sorted(maps.Keys(c.Options)) {
		text += ", " + option + " " + c.Options[option]
	}
	return text
}

// words joins the non-empty parts with commas.
func words(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}
