package components

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Service is how a component runs on outside hosts: as one program, or as several.
type Service struct {
	// Hosts are the roles of those that have it, or labs.FieldRouting or labs.FieldVRRP for those with that field.
	Hosts []string `json:"hosts"`
	// Layer is a layer of the component, laid over the Debian base in the host's root file
	// system; "" for none.
	Layer string `json:"layer"`
	// Capabilities are what its programs need beyond those of every outside host, as
	// CAP_SYS_ADMIN. The whole host gets them.
	Capabilities []string `json:"capabilities"`
	Program      `json:",inline"`
	Programs     []Program `json:"programs"` // in place of the one above, each with a name
}

// Program is a supervised process of a Service. Command, Ready and Listens are templates over
// HostView.
type Program struct {
	Name string `json:"name"` // default: the component's
	// Files are template files of the component, by the path that they get in the host. A
	// running program whose files change is restarted.
	Files   map[string]string `json:"files"`
	Command []string          `json:"command"`
	After   string            `json:"after"` // a unix socket that must accept connections before it is started; "" for none
	Ready   Ready             `json:"ready"`
	// Title is what evidence calls whoever replies at Listens, ports of the host such as "53".
	Title   string   `json:"title"`
	Listens []string `json:"listens"`
}

// programs lists the programs of the component's service.
func (k Component) programs() []Program {
	if len(k.Service.Programs) > 0 {
		return k.Service.Programs
	}
	one := k.Service.Program
	one.Name = k.Name
	return []Program{one}
}

// Ready is how to check that a service is ready: exactly one of these.
type Ready struct {
	Unix    string   `json:"unix,omitempty"`    // a unix socket that accepts connections
	TCP     string   `json:"tcp,omitempty"`     // address:port that accepts connections
	UDP     string   `json:"udp,omitempty"`     // port that something is bound to
	Command []string `json:"command,omitempty"` // exits with 0
}

func (r Ready) String() string {
	switch {
	case r.Unix != "":
		return "unix socket " + r.Unix
	case r.TCP != "":
		return "TCP " + r.TCP
	case r.UDP != "":
		return "UDP port " + r.UDP
	}
	return strings.Join(r.Command, " ")
}

// HostView is what the templates of a Service see.
type HostView struct {
	View
	Machine topology.Machine
}

// HostService is a Program of one host, rendered for its plan.
type HostService struct {
	Name         string            `json:"name"`
	Layer        string            `json:"layer,omitempty"` // directory laid over the Debian base
	Capabilities []string          `json:"capabilities,omitempty"`
	Files        map[string]string `json:"files,omitempty"` // path in the host → content
	Argv         []string          `json:"argv"`
	After        string            `json:"after,omitempty"`
	Ready        Ready             `json:"ready"`
	// Title is what evidence calls it, on the ports at which it replies.
	Title   string   `json:"title,omitempty"`
	Listens []uint16 `json:"listens,omitempty"`
}

// checkService reports invalid fields of a component's service.
func (k Component) checkService() error {
	s := k.Service
	if s == nil {
		if k.Kind == KindHost {
			return errors.New("a component of kind host has a service")
		}
		return nil
	}
	for _, role := range s.Hosts {
		if !slices.Contains(hostRoles(), role) {
			return fmt.Errorf("service: %q is not a role of outside hosts; these are %s", role, strings.Join(hostRoles(), ", "))
		}
	}
	if len(s.Hosts) == 0 {
		return errors.New("service: requires hosts, the roles of those that have it")
	}
	if s.Layer != "" && !slices.ContainsFunc(k.Layers, func(l Layer) bool { return l.Name == s.Layer && (l.Debian == nil || l.Debian.Over != "") }) {
		return fmt.Errorf("service: layer %s is not a layer of the component that can be laid over the Debian base", s.Layer)
	}
	if len(s.Programs) > 0 && len(s.Command) > 0 {
		return errors.New("service: requires either command or programs")
	}
	for i, p := range k.programs() {
		again := slices.ContainsFunc(k.programs()[:i], func(q Program) bool { return q.Name == p.Name })
		if p.Name == "" || again {
			return fmt.Errorf("service: program %d requires a name of its own", i)
		}
		if err := k.checkProgram(p); err != nil {
			return fmt.Errorf("service: %w", err)
		}
	}
	return nil
}

// checkProgram reports invalid fields of one program.
func (k Component) checkProgram(p Program) error {
	if (p.Title == "") != (len(p.Listens) == 0) {
		return errors.New("requires title and listens, or neither")
	}
	given := 0
	for _, is := range []bool{p.Ready.Unix != "", p.Ready.TCP != "", p.Ready.UDP != "", len(p.Ready.Command) > 0} {
		if is {
			given++
		}
	}
	if len(p.Command) == 0 || !path.IsAbs(p.Command[0]) || given != 1 {
		return errors.New("requires command, by its absolute path, and one of ready's unix, tcp, udp, command")
	}
	for to, file := range p.Files {
		if !path.IsAbs(to) {
			return fmt.Errorf("file %s requires an absolute path", to)
		}
		if _, err := fs.Stat(k.files, file); err != nil {
			return err
		}
	}
	return nil
}

func hostRoles() []string {
	return []string{topology.RoleRouter, topology.RoleClient, topology.RoleInternet, topology.RoleAPILB, topology.RoleLoadBalancer, topology.RoleCloud, labs.FieldRouting, labs.FieldVRRP}
}

// runsOn reports whether an outside host of the plan has the component's service.
func (k Component) runsOn(p topology.Plan) bool {
	return slices.ContainsFunc(p.Machines, func(m topology.Machine) bool { return m.Runs(k.Name) })
}

// checkServices reports services of a plan that no component runs.
func (c Catalog) checkServices(p topology.Plan) error {
	for _, m := range p.Machines {
		for _, s := range m.Services {
			if versions := c[s.Name]; len(versions) == 0 || versions[0].Service == nil {
				return fmt.Errorf("host %s: no component runs the service %q", m.Name, s.Name)
			}
		}
	}
	return nil
}

// listeners are the titles of the services of outside hosts, by the addresses and ports at which
// they reply.
func (s Set) listeners() map[netip.AddrPort]string {
	all := map[netip.AddrPort]string{}
	for _, m := range s.Plan.Hosts() {
		services, _ := s.HostServices(m) // providers report the error
		for _, service := range services {
			for _, port := range service.Listens {
				for _, nic := range m.NICs {
					for _, a := range nic.Addresses {
						all[netip.AddrPortFrom(a.Addr(), port)] = service.Title
					}
				}
			}
		}
	}
	return all
}

// HostServices renders the services of an outside host of the set's plan. Layer is the
// reference of a layer that is not obtained yet, "component/layer".
func (s Set) HostServices(m topology.Machine) ([]HostService, error) {
	var all []HostService
	for _, service := range m.Services {
		k, _ := s.Find(service.Name) // Resolve has checked that it exists
		rendered, err := k.hostServices(s.Plan, m)
		if err != nil {
			return nil, fmt.Errorf("service %s of host %s: %w", service.Name, m.Name, err)
		}
		all = append(all, rendered...)
	}
	return all, nil
}

// hostServices renders the programs of the component's service for one host.
func (k Component) hostServices(p topology.Plan, m topology.Machine) ([]HostService, error) {
	var all []HostService
	v := HostView{View: k.view(p, Artifacts{}), Machine: m}
	for _, program := range k.programs() {
		out, err := k.hostService(program, v)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", program.Name, err)
		}
		out.Capabilities = k.Service.Capabilities
		if k.Service.Layer != "" {
			out.Layer = k.Name + "/" + k.Service.Layer
		}
		all = append(all, out)
	}
	return all, nil
}

// hostService renders one program.
func (k Component) hostService(p Program, v HostView) (HostService, error) {
	out := HostService{Name: p.Name, Files: map[string]string{}, After: p.After, Title: p.Title}
	for to, file := range p.Files {
		text, err := k.fill(file, v)
		if err != nil {
			return out, err
		}
		out.Files[to] = string(text)
	}
	lists := []struct{ to, from *[]string }{{&out.Argv, &p.Command}, {&out.Ready.Command, &p.Ready.Command}}
	for _, l := range lists {
		for _, text := range *l.from {
			filled, err := fillText(k.Name, text, v)
			if err != nil {
				return out, err
			}
			*l.to = append(*l.to, filled)
		}
	}
	for _, text := range p.Listens {
		filled, err := fillText(k.Name, text, v)
		if err != nil {
			return out, err
		}
		if filled == "" { // hosts of another role have this one
			continue
		}
		port, err := strconv.ParseUint(filled, 10, 16)
		if err != nil {
			return out, fmt.Errorf("listens: %q is not a port", filled)
		}
		out.Listens = append(out.Listens, uint16(port))
	}
	words := map[*string]string{&out.Ready.Unix: p.Ready.Unix, &out.Ready.TCP: p.Ready.TCP, &out.Ready.UDP: p.Ready.UDP}
	for to, text := range maps.All(words) {
		filled, err := fillText(k.Name, text, v)
		if err != nil {
			return out, err
		}
		*to = filled
	}
	return out, nil
}

func fillText(name, text string, data any) (string, error) {
	t, err := template.New(name).Funcs(sprig.TxtFuncMap()).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, data)
	return out.String(), err
}
