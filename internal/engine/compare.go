package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
)

// Compared is one lab of a comparison. Seconds are those that a user waits.
type Compared struct {
	Lab           labs.Name      `json:"lab"`
	File          string         `json:"file"`
	CNI           labs.CNI       `json:"cni"`
	Proxy         string         `json:"proxy"`
	Provider      string         `json:"provider"`
	Error         string         `json:"error,omitempty"` // why there is no report
	UpSeconds     float64        `json:"upSeconds"`       // everything built; verified
	VerifySeconds float64        `json:"verifySeconds"`   // once more, the lab being up
	DownSeconds   float64        `json:"downSeconds"`
	NodeBytes     int64          `json:"nodeBytes,omitempty"` // the mean of its Nodes
	Report        *report.Report `json:"report,omitempty"`
}

// Strangers refuses labs that already exist, at least in part, and two labs of one name:
// compare would remove them.
func (e Engine) Strangers(files []string, sets []components.Set) (errs error) {
	first := map[labs.Name]bool{}
	for i, set := range sets {
		lab := set.Plan.Lab
		if first[lab] {
			errs = errors.Join(errs, hint.With(fmt.Errorf("%s: another of these labs is named %s too", files[i], lab), "give it another metadata.name"))
		}
		first[lab] = true
		_, err := e.Root.Read(lab)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = e.refuseStranger(lab)
		case err == nil:
			err = hint.With(fmt.Errorf("lab %s already exists, and compare would remove it", lab), fmt.Sprintf("`netlab down %s` removes it", lab))
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// Prepare obtains the software of labs, so that Compare does not time builds.
func (e Engine) Prepare(ctx context.Context, sets []components.Set, p Progress) error {
	for _, set := range sets {
		provider, err := e.provider(set.Plan.Provider)
		if err != nil {
			return err
		}
		cache := e.software(provider)
		cache.Progress = p
		if err := e.missing(ctx, cache, provider, set); err != nil {
			return err
		}
		if _, err := cache.Obtain(ctx, set, p.Step); err != nil {
			return err
		}
	}
	return nil
}

// Compare creates a lab, verifies it twice and removes it, also if it failed. The result holds
// the lab's error; an error of Compare means that ctx was cancelled.
func (e Engine) Compare(ctx context.Context, file string, set components.Set, p Progress) (Compared, error) {
	plan := set.Plan
	one := Compared{Lab: plan.Lab, File: file, CNI: plan.CNI, Proxy: plan.Kubernetes.Proxy, Provider: plan.Provider}
	err := e.measure(ctx, file, set, p, &one)
	began := time.Now()
	_, gone := e.Down(context.WithoutCancel(ctx), plan.Lab)
	one.DownSeconds = time.Since(began).Seconds()
	if ctx.Err() != nil {
		return one, errors.Join(errors.New("stopped"), gone)
	}
	if err = errors.Join(err, gone); err != nil {
		one.Error = err.Error()
	}
	return one, nil
}

// measure creates a lab as Up does, and verifies it once more.
func (e Engine) measure(ctx context.Context, file string, set components.Set, p Progress, one *Compared) error {
	began := time.Now()
	made, err := e.Up(ctx, set, UpOptions{File: file, Verify: true}, p)
	if err != nil {
		return err
	}
	one.UpSeconds = time.Since(began).Seconds()
	began = time.Now()
	if _, err := e.Verify(ctx, set.Plan.Lab, VerifyOptions{}, p); err != nil {
		return err
	}
	one.VerifySeconds = time.Since(began).Seconds()
	nodes := set.Plan.Nodes()
	for _, n := range nodes {
		one.NodeBytes += e.memory(set.Plan, n) / int64(len(nodes))
	}
	if made.Report == nil {
		return fmt.Errorf("lab %s was already up", set.Plan.Lab)
	}
	one.Report = withoutWays(*made.Report)
	return nil
}

// withoutWays leaves out how packets went, which compare does not show.
func withoutWays(r report.Report) *report.Report {
	short := r.WithoutWays()
	return &short
}

// memory is the memory of a Node, in bytes; 0 if it is not measured.
func (e Engine) memory(plan topology.Plan, m topology.Machine) int64 {
	p, err := e.provider(plan.Provider)
	if err != nil || m.Kind != topology.KindNode {
		return 0
	}
	return held(p, plan.Lab, m.Name)
}
