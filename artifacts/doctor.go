package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"netlab.dev/netlab/components"
)

// missing is a tool that a build requires and this machine lacks.
type missing struct{ tool, pkg, why string }

func (m missing) Error() string { return fmt.Sprintf("%s not found: it %s", m.tool, m.why) }
func (m missing) Hint() string  { return "apt-get install " + m.pkg }

// Missing lists the tools that obtaining a set requires and this machine lacks, as errors
// with a Hint. What is cached requires none.
func (c Cache) Missing(set components.Set) []error {
	l := lookout{obtaining: obtaining{Cache: c, set: set}}
	l.program("unshare", "util-linux", "keeps builds apart from the machine")
	l.program("tar", "tar", "unpacks the node image")
	if set.Plan.Capabilities.OwnKernel {
		l.program("mke2fs", "e2fsprogs", "makes the disk of virtual machines")
	}
	if err := c.lacksImage(set.Plan); err != nil {
		l.lacks = append(l.lacks, err)
	}
	for _, k := range set.Components {
		for _, b := range k.Builds {
			l.build(made{k, b})
		}
		for _, layer := range k.Layers {
			if layer.Debian == nil {
				continue
			}
			if i, err := l.layerItem(k.Name + "/" + layer.Name); err != nil {
				l.lacks = append(l.lacks, err)
			} else if _, ok := l.have(i); !ok {
				l.program("mmdebstrap", "mmdebstrap", "makes the file system of the node image")
			}
		}
	}
	return slices.CompactFunc(l.lacks, func(a, b error) bool { return errors.Is(a, b) })
}

// lookout collects the tools that are missing.
type lookout struct {
	obtaining
	lacks []error
}

func (l *lookout) program(tool, pkg, why string) {
	m := missing{tool, pkg, why}
	if _, err := exec.LookPath(tool); err != nil && !slices.Contains(l.lacks, error(m)) {
		l.lacks = append(l.lacks, m)
	}
}

func (l *lookout) build(m made) {
	i, err := m.item()
	if err != nil {
		l.lacks = append(l.lacks, err)
		return
	}
	if _, ok := l.have(i); ok {
		return
	}
	l.program("go", "golang", "builds the components from their Go modules")
	if !m.CGO {
		return
	}
	l.program("gcc", "gcc", "compiles the C in runc and flannel")
	l.program("pkg-config", "pkg-config", "finds libseccomp for runc")
	for file, pkg := range map[string]string{"libc.a": "libc6-dev", "libseccomp.a": "libseccomp-dev"} {
		if !inLibraries(file) {
			l.lacks = append(l.lacks, missing{file, pkg, "is linked into runc and flannel"})
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
