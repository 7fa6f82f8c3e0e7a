package components

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"netlab.dev/netlab/topology"
)

// missing is a tool that a build needs and this machine lacks.
type missing struct{ tool, pkg, why string }

func (m missing) Error() string { return fmt.Sprintf("%s is not here: it %s", m.tool, m.why) }
func (m missing) Hint() string  { return "apt-get install " + m.pkg }

// Missing lists the tools that obtaining a plan's components would need and this
// machine lacks, as errors with a Hint. What the cache already holds needs none.
func (r Resolver) Missing(p topology.Plan) []error {
	set, err := r.Catalog.Resolve(p)
	if err != nil {
		return []error{err}
	}
	var lacks []error
	program := func(tool, pkg, why string) {
		m := missing{tool, pkg, why}
		if _, err := exec.LookPath(tool); err != nil && !slices.Contains(lacks, error(m)) {
			lacks = append(lacks, m)
		}
	}
	program("unshare", "util-linux", "keeps builds apart from the machine")
	program("tar", "tar", "unpacks the node image")
	if p.Virtual() {
		program("mke2fs", "e2fsprogs", "makes the disk of virtual machines")
	}
	if err := r.lacksImage(p); err != nil {
		lacks = append(lacks, err)
	}
	o := obtaining{Resolver: r}
	for _, k := range set {
		for _, b := range k.Builds {
			i, err := made{k, b}.item()
			if err != nil {
				return append(lacks, err)
			}
			if _, ok := r.have(i); ok {
				continue
			}
			program("go", "golang", "builds the components from their Go modules")
			if b.CGO {
				program("gcc", "gcc", "compiles the C in runc and flannel")
				program("pkg-config", "pkg-config", "finds libseccomp for runc")
				for file, pkg := range map[string]string{"libc.a": "libc6-dev", "libseccomp.a": "libseccomp-dev"} {
					if !inLibraries(file) {
						lacks = append(lacks, missing{file, pkg, "is linked into runc and flannel"})
					}
				}
			}
		}
		for _, l := range k.Layers {
			if l.Debian == nil {
				continue
			}
			i, err := o.layerItem(k.Name + "/" + l.Name)
			if err != nil {
				return append(lacks, err)
			}
			if _, ok := r.have(i); !ok {
				program("mmdebstrap", "mmdebstrap", "makes the file system of the node image")
			}
		}
	}
	return slices.CompactFunc(lacks, func(a, b error) bool { return errors.Is(a, b) })
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
