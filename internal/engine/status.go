package engine

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// LabStatus is a lab as `list` and `status` show it.
type LabStatus struct {
	Lab      labs.Name       `json:"lab"`
	Provider string          `json:"provider"`
	Phase    string          `json:"phase"`
	Created  time.Time       `json:"created"`
	File     string          `json:"file"`
	Machines []MachineStatus `json:"machines"`
	// NodeImage is the image of the Nodes, if it is kindest/node: name:tag@digest.
	NodeImage string `json:"nodeImage,omitempty"`
	// Sessions are the BGP sessions of routers with routing that are on.
	Sessions []SessionStatus `json:"sessions,omitempty"`
	// SharedVIPs are those that hosts share by VRRP.
	SharedVIPs []SharedVIPStatus `json:"sharedVIPs,omitempty"`
	// Balancers are what a load balancer outside the cluster does.
	Balancers []BalancerStatus `json:"loadBalancers,omitempty"`
	Problems  []string         `json:"problems,omitempty"`
}

// MachineStatus is one of its machines.
type MachineStatus struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
	Running bool   `json:"running"`
	// LinksDown are the NICs whose link is down at the switch.
	LinksDown []string `json:"linksDown,omitempty"`
	// Impaired are the NICs whose link is impaired, and how.
	Impaired map[string]labs.Impairment `json:"impaired,omitempty"`
	Memory   int64                      `json:"memoryBytes,omitempty"` // of a Node, page cache left out
}

const (
	// phaseOrphaned is the phase of a lab that has no state, only parts with its label.
	phaseOrphaned = "orphaned"
	// phaseElsewhere is that of a lab in another state directory, which stands for its file.
	phaseElsewhere = "elsewhere"
)

// Elsewhere reports whether a lab belongs to another state directory, which is in File.
func (s LabStatus) Elsewhere() bool { return s.Phase == phaseElsewhere }

// Labs lists the labs of this machine, also those of other state directories, without their machines.
func (e Engine) Labs() ([]LabStatus, error) {
	names, err := e.found()
	if err != nil {
		return nil, err
	}
	all := []LabStatus{}
	for _, name := range names {
		s := LabStatus{Lab: name, Phase: phaseOrphaned, Machines: []MachineStatus{}}
		// These fields are known even if another version of netlab wrote the state.
		if other, known := e.Owners.Other(name, e.Root); known && !e.Root.Marked(name) {
			s.Phase, s.File = phaseElsewhere, string(other)
		} else if state, err := e.Root.Read(name); !errors.Is(err, fs.ErrNotExist) {
			s.Provider, s.Phase, s.Created, s.File = state.Plan.Provider, state.Phase, state.Created, state.File
		}
		all = append(all, s)
	}
	return all, nil
}

// Status reports which machines of a lab run and what is wrong with it.
func (e Engine) Status(ctx context.Context, lab labs.Name) (LabStatus, error) {
	state, provider, err := e.made(lab)
	if err != nil {
		return LabStatus{}, err
	}
	s := LabStatus{Lab: lab, Provider: state.Plan.Provider, Phase: state.Phase, Created: state.Created, File: state.File, NodeImage: state.Artifacts.Node.Over}
	running := providers.Running{}
	if state.Phase != providers.PhaseStopped {
		running, _ = provider.Attach(ctx, state.Plan, e.Root.Dir(lab)) // Healthy reports what is missing
	}
	links := map[string][]string{}
	if switcher, able := provider.(providers.Switcher); able && state.Phase == providers.PhaseUp {
		links, _ = switcher.LinksDown(ctx, state.Plan) // Healthy reports what is missing
	}
	var worse topology.Impaired
	if state.Phase == providers.PhaseUp {
		worse, _ = impaired(ctx, provider, state) // likewise
	}
	for _, m := range state.Plan.Machines {
		_, runs := running.Machines[m.Name]
		runs = runs && !slices.Contains(running.Off, m.Name)
		s.Machines = append(s.Machines, MachineStatus{Name: m.Name, Role: m.Role, Address: m.Address().String(), Running: runs, LinksDown: links[m.Name], Impaired: worse[m.Name], Memory: e.memory(state.Plan, m)})
	}
	var noSessions, noVIPs, noBalancers error
	s.Sessions, noSessions = sessionsOf(ctx, running, state.Plan)
	s.SharedVIPs, noVIPs = sharedVIPsOf(ctx, running, state.Plan)
	s.Balancers, noBalancers = balancersOf(ctx, running, state.Plan)
	for _, problem := range hint.Split(providers.Healthy(ctx, provider, state, e.Root.Dir(lab))) {
		s.Problems = append(s.Problems, problem.Error())
	}
	for _, problem := range hint.Split(errors.Join(noSessions, noVIPs, noBalancers)) {
		s.Problems = append(s.Problems, problem.Error())
	}
	return s, nil
}

// held is the memory of a Node, in bytes; 0 if it is not measured.
func held(p providers.Provider, lab labs.Name, node string) int64 {
	meter, ok := p.(providers.Meter)
	if !ok {
		return 0
	}
	bytes, _ := meter.Memory(lab, node)
	return bytes
}
