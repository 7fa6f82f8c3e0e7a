package artifacts

import (
	"cmp"
	"context"
	"slices"

	"netlab.dev/netlab/components"
)

// Outlook is where the software of a new lab is, and where what the cache lacks would come from, as
// far as that is known without asking anyone: whether a registry has an image it says when it is asked.
type Outlook struct {
	Artifacts []Artifact `json:"artifacts"`
	// BuildSeconds that the builds take which are necessary in any case: the sum of what the recipes
	// give for a machine with two cores.
	BuildSeconds int `json:"buildSeconds"`
	// OtherwiseSeconds that further builds take if no registry has the images that are to be pulled.
	OtherwiseSeconds int `json:"otherwiseSeconds"`
}

// Outlook returns that of a set. It contacts nobody and makes nothing.
func (c Cache) Outlook(set components.Set) (Outlook, error) {
	o := obtaining{Cache: c, set: set, selfHash: anySelf}
	hoped, feared := o.answers()
	j, err := o.settle(context.Background(), hoped)
	if err != nil {
		return Outlook{}, err
	}
	all, err := j.ingredients()
	if err != nil {
		return Outlook{}, err
	}
	var out Outlook
	var built []ingredient
	for _, i := range all {
		if i.kind == inPins { // it comes with its image
			continue
		}
		a := j.artifact(i)
		out.Artifacts = append(out.Artifacts, a)
		if a.From == "" && len(a.Could) > 0 && a.Could[0] == string(Build) {
			built = append(built, i)
		}
	}
	if out.BuildSeconds, err = seconds(j.worksFor(built)); err != nil || !slices.Contains(c.Sources, Build) {
		return out, err
	}
	if j, err = o.settle(context.Background(), feared); err != nil {
		return out, err
	}
	most, err := seconds(j.works())
	out.OtherwiseSeconds = most - out.BuildSeconds
	return out, err
}

// seconds sums those of works.
func seconds(all []work, err error) (sum int, _ error) {
	for _, w := range all {
		sum += w.seconds
	}
	return sum, err
}

// artifact is an ingredient as it is cached, or as it may be had.
func (j job) artifact(i ingredient) Artifact {
	rec, cached := j.have(i.item)
	if !cached {
		return Artifact{What: i.what, Could: j.could(i)}
	}
	return Artifact{What: i.what, From: rec.From, Could: j.could(i), Seconds: rec.Seconds, Bytes: rec.Bytes}
}

// could are the sources of an ingredient, in the order in which they are asked.
func (o obtaining) could(i ingredient) []string {
	switch {
	case o.offline():
		return nil
	case i.kind == inModules:
		return []string{fromModule}
	case i.kind == inClouds:
		return []string{fromURL}
	case i.only:
		return o.may(Registry)
	case i.pulled:
		return append(o.may(Registry), o.may(Build)...)
	}
	return o.may(Build)
}

// answers are the best and the worst case for settle: registries have the upstream's node images that are
// not cached, or they do not.
func (o obtaining) answers() (hoped, feared map[string]answer) {
	hoped, feared = map[string]answer{}, map[string]answer{}
	for _, k := range o.set.Components {
		for _, i := range k.Images {
			if i.Over == nil {
				continue
			}
			ref := o.upstream(k, *i.Over).ref
			digest := i.Over.Pull
			if rec, cached := o.have(o.pin(k, *i.Over)); digest == "" && cached {
				digest = rec.Digest
			}
			question := o.question(ref)
			hoped[question] = answer{digest: cmp.Or(digest, "not known yet")}
			feared[question] = answer{why: errNotAsked.Error()}
			switch {
			case len(o.pulledFrom(k, *i.Over)) > 0: // it is cached
				feared[question] = hoped[question]
			case !slices.Contains(o.Sources, Registry):
				hoped[question] = feared[question]
			}
		}
	}
	return hoped, feared
}
