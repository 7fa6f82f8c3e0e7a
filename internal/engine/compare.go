package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/compare"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Variation is a variant of a comparison with its components.
type Variation struct {
	compare.Variant
	Set components.Set
}

// With is the engine for which lab files have other values in some fields. Their locks are not read:
// what is varied is what they lock.
func (e Engine) With(settings []labs.Setting) Engine {
	if len(settings) > 0 {
		e.settings, e.noLocks = settings, true
	}
	return e
}

// varied is a lab file with the engine's settings. Problems get the lines of the file itself.
func (e Engine) varied(file string, data []byte) ([]byte, error) {
	if len(e.settings) == 0 {
		return data, nil
	}
	text, err := labs.Set(data, e.settings)
	return text, e.inVariant(file, err)
}

// inVariant adds to the problems of a variant what it sets at the same field, or else all that it sets,
// and the lines of the file.
func (e Engine) inVariant(file string, err error) error {
	var problems labs.Problems
	if len(e.settings) == 0 || !errors.As(err, &problems) {
		return err
	}
	located := problems.Located(file)
	for i, p := range located {
		var all, own []string
		for _, s := range e.settings {
			all = append(all, s.String())
			if strings.HasPrefix(p.Field, s.Field) || strings.HasPrefix(s.Field, p.Field+".") {
				own = append(own, s.String())
			}
		}
		if len(own) == 0 {
			own = all
		}
		located[i].What += ", with " + strings.Join(own, " and ")
	}
	return located
}

// Variants resolves each lab file with each combination of settings: one of each list. Problems of the
// files themselves are reported once.
func (e Engine) Variants(files []string, fields [][]labs.Setting) (all []Variation, notes labs.Problems, errs error) {
	var problems labs.Problems
	add := func(err error) {
		var some labs.Problems
		if errors.As(err, &some) {
			for _, p := range some {
				if !slices.Contains(problems, p) { // several combinations have it
					problems = append(problems, p)
				}
			}
		} else {
			errs = errors.Join(errs, err)
		}
	}
	combinations := [][]labs.Setting{nil}
	for _, values := range fields {
		var more [][]labs.Setting
		for _, c := range combinations {
			for _, v := range values {
				more = append(more, append(c[:len(c):len(c)], v))
			}
		}
		combinations = more
	}
	for _, file := range files {
		_, noted, err := e.With(nil).Plan(file)
		notes = append(notes, noted...)
		if err != nil {
			add(err)
			continue
		}
		for _, settings := range combinations {
			set, _, err := e.With(settings).Resolve(file)
			if err != nil {
				add(err)
				continue
			}
			plan := set.Plan
			all = append(all, Variation{Set: set, Variant: compare.Variant{Name: compare.NameOf(plan.Lab, settings), File: file, Settings: settings,
				Lab: plan.Lab, CNI: plan.CNI, Proxy: plan.Kubernetes.Proxy, Provider: plan.Provider, Plan: hashOf(set)}})
		}
	}
	if len(problems) > 0 {
		return nil, notes, problems
	}
	return all, notes, errs
}

// hashOf identifies a plan with the versions of its components.
func hashOf(set components.Set) string {
	text, _ := json.Marshal(struct {
		Plan     topology.Plan
		Versions map[string]string
	}{set.Plan, set.Versions()})
	return fmt.Sprintf("%x", sha256.Sum256(text))[:16]
}

// Strangers refuses labs that already exist, at least in part, and different files of one lab: compare
// would remove them. The lab of an interrupted run of the same comparison is none.
func (e Engine) Strangers(all []Variation, interrupted *compare.Underway) (errs error) {
	first := map[labs.Name]string{}
	for _, v := range all {
		if file, seen := first[v.Lab]; seen {
			if file != v.File {
				errs = errors.Join(errs, hint.With(fmt.Errorf("%s: another of these labs is named %s too", v.File, v.Lab), "give it another metadata.name"))
			}
			continue
		}
		first[v.Lab] = v.File
		state, err := e.Root.Read(v.Lab)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = e.refuseStranger(v.Lab)
		case err == nil && interrupted.Left(v.Lab, state.Created):
		case err == nil:
			err = hint.With(fmt.Errorf("lab %s already exists, and compare would remove it", v.Lab), fmt.Sprintf("`netlab down %s` removes it", v.Lab))
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// Prepare obtains the software of labs, so that Compare does not time builds.
func (e Engine) Prepare(ctx context.Context, all []Variation, p Progress) error {
	for _, v := range all {
		provider, err := e.provider(v.Set.Plan.Provider)
		if err != nil {
			return err
		}
		cache := e.software(provider)
		cache.Progress = p
		if err := e.missing(ctx, cache, provider, v.Set, ""); err != nil {
			return err
		}
		if _, err := cache.Obtain(ctx, v.Set, p.Step); err != nil {
			return err
		}
	}
	return nil
}

// Compare makes the runs that results still lack, and keeps them after each: a comparison that was
// killed continues where it was. The error means that ctx was cancelled, or that nothing can be kept.
func (e Engine) Compare(ctx context.Context, r compare.Results, all []Variation, keep func(compare.Results) error, p Progress) (compare.Results, error) {
	if r.Underway != nil {
		if state, err := e.Root.Read(r.Underway.Lab); err == nil && r.Underway.Left(state.Plan.Lab, state.Created) {
			p.Note(fmt.Sprintf("the run of lab %s was interrupted: it is removed and made again", r.Underway.Lab))
			if _, err := e.Down(ctx, r.Underway.Lab); err != nil {
				return r, err
			}
		}
		r.Underway = nil
	}
	total := len(r.Left()) + len(r.Runs)
	for left := r.Left(); len(left) > 0; left = r.Left() {
		v := all[left[0].Variant]
		p.Note(headline(r, v, left, total))
		r.Underway = &compare.Underway{Lab: v.Lab, Began: time.Now()}
		if err := keep(r); err != nil {
			return r, err
		}
		run, gone, err := e.With(v.Settings).run(ctx, v, r.Measured, p)
		run.Variant, run.Round = left[0].Variant, left[0].Round
		if gone {
			r.Underway = nil
		}
		if err == nil {
			r.Runs = append(r.Runs, run)
		}
		if err := errors.Join(err, keep(r)); err != nil {
			return r, err
		}
	}
	return r, nil
}

// headline says which run begins, and how long all will take.
func headline(r compare.Results, v Variation, left []compare.Step, total int) string {
	text := fmt.Sprintf("lab %d of %d: %s", total-len(left)+1, total, v.Name)
	if d := r.TimeLeft(left); d >= time.Minute {
		text += fmt.Sprintf(", %.0f minutes left", d.Minutes())
	} else if d > 0 {
		text += fmt.Sprintf(", %.0f seconds left", d.Seconds())
	}
	return text
}

// run creates a lab, verifies it twice, measures and removes it, also if it failed. The result holds
// the lab's error; an error of run means that ctx was cancelled. Gone: the lab is removed.
func (e Engine) run(ctx context.Context, v Variation, m compare.Measured, p Progress) (one compare.Run, gone bool, err error) {
	one.Began = time.Now()
	err = e.measure(ctx, v, m, p, &one)
	began := time.Now()
	_, left := e.Down(context.WithoutCancel(ctx), v.Lab)
	one.DownSeconds, one.TotalSeconds = time.Since(began).Seconds(), time.Since(one.Began).Seconds()
	if ctx.Err() != nil {
		return one, left == nil, errors.Join(errors.New("stopped"), left)
	}
	if err = errors.Join(err, left); err != nil {
		one.Error = err.Error()
	}
	return one, left == nil, nil
}

// measure creates a lab as Up does, verifies it once more, and measures.
func (e Engine) measure(ctx context.Context, v Variation, m compare.Measured, p Progress, one *compare.Run) error {
	began := time.Now()
	made, err := e.Up(ctx, v.Set, UpOptions{File: v.File, Verify: true}, p)
	if err != nil {
		return err
	}
	one.UpSeconds = time.Since(began).Seconds()
	if made.Report == nil {
		return fmt.Errorf("lab %s was already up", v.Lab)
	}
	one.Report = withoutWays(*made.Report)
	began = time.Now()
	if _, err := e.Verify(ctx, v.Lab, VerifyOptions{}, p); err != nil {
		return err
	}
	one.VerifySeconds = time.Since(began).Seconds()
	nodes := v.Set.Plan.Nodes()
	for _, n := range nodes {
		one.NodeBytes += e.memory(v.Set.Plan, n) / int64(len(nodes))
	}
	if one.Usage, err = e.usage(ctx, v.Lab); err != nil {
		p.Warn(fmt.Sprintf("CPU and memory of workloads are not known: %v", err))
	}
	options := VerifyOptions{Throughput: m.Throughput, Latency: m.Latency, Evidence: true, Extent: checks.Extent{Only: []string{checks.PodToPodCrossNode}}}
	if m.Thorough {
		options.Extent = checks.Extent{Thorough: true}
	}
	measured, err := e.Verify(ctx, v.Lab, options, p)
	if err != nil {
		return err
	}
	one.Measured = onlyWaysOf(measured.Report, checks.PodToPodCrossNode)
	return nil
}

// usageLimit bounds the wait until kubelet has read the cgroups of all Pods.
const usageLimit = 30 * time.Second

// usage is what the workloads of a running lab use, as soon as all are known.
func (e Engine) usage(ctx context.Context, lab labs.Name) (all []compare.Usage, err error) {
	running, _, err := e.attach(ctx, lab)
	if err != nil {
		return nil, err
	}
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var used []observe.Usage
	for deadline := time.Now().Add(usageLimit); ; {
		var complete bool
		if used, complete, err = observe.UsageOf(ctx, client); err != nil || complete || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	for _, u := range used {
		all = append(all, compare.Usage{Workload: u.Workload, Bytes: u.Bytes, CPUSeconds: u.CPUSeconds})
	}
	return all, err
}

// withoutWays leaves out how packets went.
func withoutWays(r report.Report) *report.Report {
	short := r.WithoutWays()
	return &short
}

// onlyWaysOf leaves out how packets went, except on the first path of an id.
func onlyWaysOf(r report.Report, id string) *report.Report {
	short := r.WithoutWays()
	for i, p := range r.Paths {
		if p.ID == id && p.Evidence != nil {
			short.Paths[i].Evidence = p.Evidence
			break
		}
	}
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
