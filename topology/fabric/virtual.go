package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Plug moves the tap that a hypervisor created for a NIC of a virtual machine from the
// network namespace at from (the hypervisor's: /proc/<pid>/ns/net) into the fabric, and makes
// it a port of the network's bridge. Whatever has the tap open continues to use it.
func Plug(ctx context.Context, plan topology.Plan, nic topology.NIC, from, tap string) error {
	if err := plan.Lab.Check(); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	fabricNS, err := netns.GetFromName(Name(plan.Lab, ""))
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", Name(plan.Lab, ""), err)
	}
	defer fabricNS.Close()
	hypervisor, err := netns.GetFromPath(from)
	if err != nil {
		return err
	}
	defer hypervisor.Close()
	err = inside(hypervisor, func() error {
		return withSpace(func(s *space) error {
			l, there := s.links[tap]
			if !there {
				return fmt.Errorf("link %s not found", tap)
			}
			return s.LinkSetNsFd(l, int(fabricNS))
		})
	})
	if err != nil {
		return fmt.Errorf("move %s out of the hypervisor's namespace: %w", tap, err)
	}
	return Enter(plan.Lab, "", func() error {
		return withSpace(func(s *space) error {
			w := &work{plan: plan}
			bridge, l := s.links[bridgeOf(plan, nic.Network)], s.links[tap]
			if bridge == nil || l == nil {
				return fmt.Errorf("plug %s: found in the fabric: bridge %t, tap %t", tap, bridge != nil, l != nil)
			}
			if err := errors.Join(s.LinkSetDown(l), s.LinkSetName(l, nic.Port), s.LinkSetGroup(l, linkGroup), s.LinkSetMaster(l, bridge)); err != nil {
				return fmt.Errorf("plug %s: %w", tap, err)
			}
			if err := s.refresh(nic.Port); err != nil {
				return err
			}
			w.mtu("fabric", s, nic.Port, nic.MTU)
			w.up("fabric", s, nic.Port)
			for _, m := range plan.Machines {
				if slices.ContainsFunc(m.NICs, func(of topology.NIC) bool { return of.Port == nic.Port }) {
					w.impair(s, m, nic)
				}
			}
			return errors.Join(w.errs...)
		})
	})
}

// Plugged reports whether every NIC of a virtual machine has its port in the fabric.
func Plugged(lab labs.Name, m topology.Machine) bool {
	err := Enter(lab, "", func() error {
		return withSpace(func(s *space) error {
			if slices.ContainsFunc(m.NICs, func(nic topology.NIC) bool { return s.links[nic.Port] == nil }) {
				return errors.New("not plugged")
			}
			return nil
		})
	})
	return err == nil
}

// ports records missing taps of a virtual machine, and corrects the others.
func (w *work) ports(s *space, m topology.Machine) {
	for _, nic := range m.NICs {
		port, bridge := s.links[nic.Port], s.links[bridgeOf(w.plan, nic.Network)]
		if bridge == nil {
			continue // the missing bridge is reported
		}
		if port == nil {
			if w.dry {
				w.changes = append(w.changes, "plug "+nic.Name+" of "+m.Name+" into network "+nic.Network)
			}
			continue
		}
		if port.Attrs().MasterIndex != bridge.Attrs().Index {
			w.do("plug port "+nic.Port+" of "+m.Name+" into network "+nic.Network, func() error { return s.LinkSetMaster(port, bridge) })
		}
		w.mtu("fabric", s, nic.Port, nic.MTU)
		w.connect(s, m, nic)
		w.impair(s, m, nic)
	}
}

// vmAccess sets the address of the first bridge, the only one in the fabric's namespace.
func (w *work) vmAccess(s *space) {
	address, err := FabricAddress(w.plan)
	if !w.check("choose an address for the fabric", err) {
		return
	}
	bridge := w.plan.Networks[0].Bridge
	if s.links[bridge] == nil {
		return // the missing bridge is reported
	}
	nic := topology.NIC{Name: bridge, Addresses: []netip.Prefix{address}}
	w.check("list addresses", w.address(s, topology.Machine{Name: "the fabric"}, nic, anyOther))
}

// Configure configures the virtual machine that this process runs on as planned: sysctls,
// interface names by MAC, MTUs, addresses, routes.
func Configure(m topology.Machine) error {
	w := &work{}
	w.sysctls(m.Name, machineSysctls(m)) // before the NICs, which inherit them
	w.check("list links", withSpace(func(s *space) error {
		w.up(m.Name, s, "lo")
		if err := w.names(s, m); err != nil {
			return err
		}
		for _, nic := range m.NICs {
			w.mtu(m.Name, s, nic.Name, nic.MTU)
			w.check("list addresses", w.address(s, m, nic, anyOther))
			w.up(m.Name, s, nic.Name)
		}
		return w.routes(s, m)
	}))
	return errors.Join(w.errs...)
}

// names renames each NIC, identified by its MAC, by way of a temporary name, since two may
// have to swap names.
func (w *work) names(s *space, m topology.Machine) error {
	byMAC := map[string]netlink.Link{}
	for _, l := range s.links {
		if l.Attrs().HardwareAddr != nil {
			byMAC[l.Attrs().HardwareAddr.String()] = l
		}
	}
	for _, final := range []bool{false, true} {
		for _, nic := range m.NICs {
			mac, err := net.ParseMAC(nic.MAC)
			if err != nil {
				return err
			}
			l, there := byMAC[mac.String()]
			switch {
			case !there:
				return fmt.Errorf("no NIC with MAC %s found for %s", nic.MAC, nic.Name)
			case l.Attrs().Name == nic.Name:
				continue
			}
			name := nic.Name
			if !final {
				name = "nl-" + nic.Name
			}
			if err := s.LinkSetName(l, name); err != nil {
				return fmt.Errorf("rename %s to %s: %w", l.Attrs().Name, name, err)
			}
		}
	}
	links, err := retryDump(s.LinkList)
	if err != nil {
		return err
	}
	clear(s.links)
	for _, l := range links {
		s.links[l.Attrs().Name] = l
	}
	return nil
}
