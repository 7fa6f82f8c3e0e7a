package artifacts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
)

// missing is a tool that a build requires and this machine lacks.
type missing struct{ tool, pkg, why string }

func (m missing) Error() string { return fmt.Sprintf("%s not found: it %s", m.tool, m.why) }
func (m missing) Hint() string  { return "apt-get install " + m.pkg }

// anySelf stands for netlab's sha256 where only ingredients matter: netlab is in none of them.
var anySelf = strings.Repeat("0", sha256.Size*2)

// Missing lists the tools that obtaining a set requires and this machine lacks, as errors
// with a Hint. What is cached requires none.
func (c Cache) Missing(set components.Set) []error {
	l := lookout{obtaining: obtaining{Cache: c, set: set, selfHash: anySelf}}
	l.program("unshare", "util-linux", "keeps builds apart from the machine")
	l.program("tar", "tar", "unpacks the node image")
	if set.Plan.Capabilities.OwnKernel {
		l.program("mke2fs", "e2fsprogs", "makes the disk of virtual machines")
	}
	if err := c.lacksImage(set.Plan); err != nil {
		l.add(err)
	}
	if c.offline() {
		return append(l.lacks, l.lackingHere()...)
	}
	l.certificates()
	if !slices.Contains(c.Sources, Build) {
		return l.lacks // what is lacking is known once registries were asked
	}
	if c.registryFirst() && l.upstreamNodes() {
		return l.lacks // registries may have all: ObtainAll looks at the rest
	}
	l.tools(l.builtHere())
	return l.lacks
}

// MissingToBuild lists the tools that a set requires as far as no registry has what it is made of,
// and this machine lacks.
func (c Cache) MissingToBuild(set components.Set) []error {
	l := lookout{obtaining: obtaining{Cache: c, set: set, selfHash: anySelf}}
	if !c.registryFirst() || !slices.Contains(c.Sources, Build) {
		return nil // all are of Missing, or of nobody
	}
	c.Sources = []Source{Build}
	l.Cache = c
	l.tools(l.builtHere())
	return l.lacks
}

// upstreamNodes reports whether a registry may have the set's node image.
func (l *lookout) upstreamNodes() bool {
	return slices.ContainsFunc(l.set.Components, func(k components.Component) bool {
		return slices.ContainsFunc(k.Images, func(i components.Image) bool {
			return i.Over != nil && slices.Contains(i.Over.Providers, l.set.Plan.Provider)
		})
	})
}

// toolsFor returns an error that lists the tools that the builds of some jobs require and this
// machine lacks: what registries have is known by now.
func toolsFor(jobs []job) error {
	var l lookout
	for _, j := range jobs {
		l.tools(j)
	}
	return errors.Join(l.lacks...)
}

// tools are those of what a job builds. What a registry may hold is looked for there first.
func (l *lookout) tools(j job) {
	all, err := j.works()
	if err != nil {
		l.add(err)
	}
	built := func(w work) bool { return w.build != nil && !j.heldFirst(*w.build) }
	if slices.ContainsFunc(all, built) {
		for _, err := range hint.Split(lacksGo()) {
			l.add(err)
		}
	}
	for _, w := range all {
		switch {
		case built(w):
			l.build(*w.build)
		case w.debian != nil && w.debian.Over == "":
			l.program("mmdebstrap", "mmdebstrap", "makes the file system of the node image")
		}
	}
}

// builtHere is the work for a set whose node image is not an upstream's, and without the images
// that registries are asked for first: what they have is known once they were asked.
func (l *lookout) builtHere() job {
	j := job{obtaining: l.obtaining, parts: slices.Clone(l.set.Components)}
	for n, k := range j.parts {
		j.parts[n].Images = slices.DeleteFunc(slices.Clone(k.Images), func(i components.Image) bool {
			return i.Over != nil || l.pulledFirst(l.picture(k, i))
		})
	}
	return j
}

// lackingHere is what the cache lacks of a set.
func (l *lookout) lackingHere() []error {
	j, err := l.settle(context.Background(), map[string]answer{}) // offline it asks nobody
	if err == nil {
		err = l.lacking([]job{j})
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// lookout collects the tools that are missing.
type lookout struct {
	obtaining
	lacks []error
}

// add adds what is missing, once: several builds require the same.
func (l *lookout) add(lack error) {
	if !slices.ContainsFunc(l.lacks, func(known error) bool { return errors.Is(known, lack) }) {
		l.lacks = append(l.lacks, lack)
	}
}

func (l *lookout) program(tool, pkg, why string) {
	if _, err := exec.LookPath(tool); err != nil {
		l.add(missing{tool, pkg, why})
	}
}

// build adds what the C of a build requires.
func (l *lookout) build(m made) {
	if !m.CGO {
		return
	}
	l.program("gcc", "gcc", "compiles the C in runc and flannel")
	l.program("pkg-config", "pkg-config", "finds libseccomp for runc")
	for file, pkg := range map[string]string{"libc.a": "libc6-dev", "libseccomp.a": "libseccomp-dev"} {
		if !inLibraries(file) {
			l.add(missing{file, pkg, "is linked into runc and flannel"})
		}
	}
}

// inLibraries looks where Debian keeps static libraries.
func inLibraries(file string) bool {
	for _, pattern := range []string{"/usr/lib/*-linux-gnu/", "/usr/lib/", "/usr/lib64/"} {
		if found, _ := filepath.Glob(filepath.Join(pattern, file)); len(found) > 0 {
			return true
		}
	}
	_, err := os.Stat(filepath.Join("/usr/local/lib", file))
	return !errors.Is(err, fs.ErrNotExist)
}
