package artifacts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/artifacts/bundle"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
)

// Platform is the one whose software is obtained, such as linux/amd64.
const Platform = "linux/" + architecture

// origin is the source of an entry, also where a bundle brought it.
func (r record) origin() string { return cmp.Or(r.Origin, r.From) }

// contents lists the ingredients of a set that are cached, by name, each with its digest and source.
// Those of without, by reference, are left out: optional images that the lab does not use.
func (j job) contents(without map[string]string) ([]components.Ingredient, error) {
	all, err := j.ingredients()
	if err != nil {
		return nil, err
	}
	var list []components.Ingredient
	for _, i := range all {
		rec, cached := j.have(i.item)
		if !cached || without[strings.TrimPrefix(i.what, whatImage)] != "" {
			continue
		}
		digest, err := j.digest(i.item, rec)
		if err != nil {
			return nil, fmt.Errorf("digest of %s: %w", i.what, err)
		}
		list = append(list, components.Ingredient{Name: i.what, Digest: digest, From: rec.origin()})
	}
	slices.SortFunc(list, func(a, b components.Ingredient) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// digest of a cached entry: that of an image is its manifest's.
func (c Cache) digest(i item, rec record) (string, error) {
	dir := c.path(i)
	switch {
	case forms[i.kind] == bundle.FormImage:
		_, digest, err := onlyImage(dir)
		return digest.String(), err
	case rec.Digest != "":
		return rec.Digest, nil
	}
	// An entry of an earlier netlab.
	digest, err := treeDigest(dir)
	if err != nil {
		return "", err
	}
	rec.Digest = digest
	data, err := json.Marshal(rec)
	if err != nil {
		return "", err
	}
	return digest, atomicfile.Write(filepath.Join(dir, recordFile), data, 0o644)
}

// treeDigest is the digest of a directory as a bundle holds it.
func treeDigest(dir string) (string, error) {
	h := sha256.New()
	if err := bundle.WriteTree(h, dir, recordFile); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// heed compares a set's software with its lock before anything is built or pulled: all that the
// set uses has to be in the lock, and what is cached has to have the locked digest.
func (j job) heed() error {
	lock := j.set.Lock
	if lock == nil {
		return nil
	}
	have, err := j.contents(nil)
	if err != nil {
		return err
	}
	all, err := j.ingredients()
	if err != nil {
		return err
	}
	var names []string
	for _, i := range all {
		optional := func(name string) bool { return i.what == whatImage+name }
		if !slices.ContainsFunc(j.optionalRefs(), optional) {
			names = append(names, i.what)
		}
	}
	return components.Unlike(j.subject(), append(lock.Digests(have), lock.Unlocked(names)...))
}

// subject is whose software an error is about.
func (j job) subject() string { return "the software of lab " + j.set.Plan.Lab.String() }

// optionalRefs are the references of a set's optional images.
func (j job) optionalRefs() (refs []string) {
	for _, k := range j.parts {
		for _, i := range k.Images {
			if i.Optional != "" {
				refs = append(refs, j.picture(k, i).ref)
			}
		}
	}
	return refs
}

// describe adds what a set's artifacts are made of, and compares it with the set's lock.
func (j job) describe(a *components.Artifacts, without map[string]string) (err error) {
	a.Versions = j.set.Versions()
	if a.Ingredients, err = j.contents(without); err != nil || j.set.Lock == nil {
		return err
	}
	lines := j.set.Lock.Differences(a.Ingredients)
	for ref, why := range without { // what is said of an image that is lacking
		for n, line := range lines {
			if strings.HasPrefix(line, whatImage+ref+": in the lock") {
				lines[n] = whatImage + ref + ": in the lock, and " + why
			}
		}
	}
	return components.Unlike(j.subject(), lines)
}

// Unlike returns an error if ingredients of a set are cached with another digest than the set's lock
// has. It asks no source.
func (c Cache) Unlike(set components.Set) error {
	if set.Lock == nil {
		return nil
	}
	o := obtaining{Cache: c, set: set}
	var err error
	if o.selfHash, _, err = hashFile(c.Self); err != nil {
		return err
	}
	j := job{obtaining: o, parts: set.Components, refused: map[string]string{}}
	have, err := j.contents(nil)
	if err != nil {
		return err
	}
	return components.Unlike(j.subject(), set.Lock.Digests(have))
}
