package libvirt

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// PowerOff implements providers.Switcher.
func (p Provider) PowerOff(ctx context.Context, plan topology.Plan, dir string, machines []topology.Machine) error {
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	return local.PowerOff(ctx, plan.Lab, dir, machines, func(_ context.Context, m topology.Machine) error {
		return destroy(hs.of(m), domainName(plan.Lab, m.Name))
	})
}

// PowerOn implements providers.Switcher. It returns when the Nodes have booted.
func (p Provider) PowerOn(ctx context.Context, req providers.Request, machines []topology.Machine) error {
	return local.PowerOn(ctx, req, machines, func(ctx context.Context, nodes []topology.Machine) error {
		hs, err := placeOf(req.Plan).connect(ctx)
		if err != nil {
			return err
		}
		defer hs.close()
		kinds, err := hs.virtualisation(ctx, req)
		if err != nil {
			return err
		}
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(atOnce)
		for _, m := range nodes {
			n, h := nodeOf(req.Plan.Lab, req.Dir, m), hs.of(m)
			all.Go(func() error {
				if err := destroy(h, n.domain()); err != nil { // one that is paused is not on
					return err
				}
				if err := n.start(ctx, h, req.Plan, kinds[m.Remote]); err != nil {
					return fmt.Errorf("start Node %s: %w", m.Name, err)
				}
				return n.await(ctx, h, n.session(), bootLimit(req.Plan))
			})
		}
		return all.Wait()
	})
}

// SetLink implements providers.Switcher. The hypervisor signals the guest; the port of the bridge is
// set down too, and shows the state to LinksDown.
func (p Provider) SetLink(ctx context.Context, plan topology.Plan, m topology.Machine, nic topology.NIC, up bool) error {
	if !m.OwnKernel {
		return fabric.SetLink(ctx, plan.Lab, []topology.NIC{nic}, up)
	}
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	h := hs.of(m)
	if err := setGuestLinks(h, plan.Lab, m.Name, []topology.NIC{nic}, up); err != nil {
		return err
	}
	if h.remote == nil {
		return fabric.SetLink(ctx, plan.Lab, []topology.NIC{nic}, up)
	}
	_, err = h.order(ctx, plan.Lab, order{Do: "link", Plan: plan.At(h.uri), NIC: nic, Up: up})
	return err
}

// LinksDown implements providers.Switcher.
func (p Provider) LinksDown(ctx context.Context, plan topology.Plan) (map[string][]string, error) {
	down, err := fabric.LinksDown(plan)
	if err == nil {
		err = elsewhere(ctx, plan, "links", func(a answer) { maps.Copy(down, a.Down) })
	}
	return down, err
}

// Impair implements providers.Impairer. A virtual machine's link is impaired at the tap, as others at the
// port of the bridge.
func (p Provider) Impair(ctx context.Context, plan topology.Plan, m topology.Machine, nic topology.NIC, i labs.Impairment) error {
	if m.Remote == "" {
		return fabric.Impair(ctx, plan.Lab, []topology.NIC{nic}, i)
	}
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	_, err = hs.of(m).order(ctx, plan.Lab, order{Do: "impair", Plan: plan.At(m.Remote), NIC: nic, Impair: i})
	return err
}

// Impaired implements providers.Impairer.
func (p Provider) Impaired(ctx context.Context, plan topology.Plan) (topology.Impaired, error) {
	all, err := fabric.Impaired(plan)
	if err == nil {
		err = elsewhere(ctx, plan, "impaired", func(a answer) { maps.Copy(all, a.Impaired) })
	}
	return all, err
}

// elsewhere has netlab on each other machine of a lab execute an order for its part of the plan.
func elsewhere(ctx context.Context, plan topology.Plan, do string, take func(answer)) error {
	if len(plan.Remotes()) == 0 {
		return nil
	}
	hs, err := place{Remote: plan.Remotes()}.connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	for _, uri := range plan.Remotes() {
		a, err := hs[uri].order(ctx, plan.Lab, order{Do: do, Plan: plan.At(uri)})
		if err != nil {
			return err
		}
		take(a)
	}
	return nil
}

// setGuestLinks sets the link state of NICs of a running domain, where it differs.
func setGuestLinks(h *hypervisor, lab labs.Name, node string, nics []topology.NIC, up bool) error {
	d, err := h.DomainLookupByName(domainName(lab, node))
	if err != nil {
		return err
	}
	text, err := h.DomainGetXMLDesc(d, 0)
	if err != nil {
		return err
	}
	for _, nic := range nics {
		device, differs, err := withLink(text, nic.MAC, up)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", nic.Name, node, err)
		}
		if !differs {
			continue
		}
		if err := h.DomainUpdateDeviceFlags(d, device, libvirt.DomainDeviceModifyLive); err != nil {
			return fmt.Errorf("set the link of %s %s: %w", node, nic.Name, err)
		}
	}
	return nil
}

// Parts of the domain XML that libvirt returns, as `virsh domif-setlink` finds them
// (https://libvirt.org/formatdomain.html#modifying-virtual-link-state).
func interfaceElement() *regexp.Regexp { return regexp.MustCompile(`(?s)<interface\b.*?</interface>`) }
func linkElement() *regexp.Regexp      { return regexp.MustCompile(`<link state=['"](\w+)['"]/>`) }

// withLink returns the XML of the interface with a MAC address and the link state, and whether its
// state was another. An interface without a state is up.
func withLink(domain, mac string, up bool) (device string, differs bool, err error) {
	want := "down"
	if up {
		want = "up"
	}
	for _, device := range interfaceElement().FindAllString(domain, -1) {
		if !strings.Contains(strings.ToLower(device), strings.ToLower(mac)) {
			continue
		}
		is := "up"
		if found := linkElement().FindStringSubmatch(device); found != nil {
			is = found[1]
		}
		device = linkElement().ReplaceAllString(device, "")
		return strings.Replace(device, "</interface>", "<link state='"+want+"'/></interface>", 1), is != want, nil
	}
	return "", false, fmt.Errorf("no interface with MAC %s found in the domain", mac)
}
