package artifacts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/internal/hint"
)

// Source is a place that what the cache lacks comes from.
type Source string

// The sources. What a bundle brings is in the cache once it is imported.
const (
	Registry Source = "registry" // images, by their names
	Build    Source = "build"    // Go modules and Debian packages, compiled and installed here
)

// AllSources are the sources that are asked unless the user says otherwise.
func AllSources() []Source { return []Source{Registry, Build} }

// ParseSources reads a list of sources, such as "registry,build": what has several is asked for in
// this order.
func ParseSources(text string) ([]Source, error) {
	var all []Source
	for word := range strings.SplitSeq(text, ",") {
		s := Source(strings.TrimSpace(word))
		switch {
		case !slices.Contains(AllSources(), s):
			return nil, hint.With(fmt.Errorf("source %q not found", s), "available: registry, build; separate several by commas")
		case slices.Contains(all, s):
			return nil, fmt.Errorf("source %s is listed twice", s)
		}
		all = append(all, s)
	}
	return all, nil
}

// SourcesOf reads the sources that a user's environment allows: NETLAB_SOURCES, without it all of
// them, and none where NETLAB_OFFLINE is set.
func SourcesOf(getenv func(string) string) ([]Source, error) {
	switch list := getenv("NETLAB_SOURCES"); {
	case getenv("NETLAB_OFFLINE") != "":
		return nil, nil
	case list == "":
		return AllSources(), nil
	default:
		all, err := ParseSources(list)
		if err != nil {
			return nil, fmt.Errorf("NETLAB_SOURCES: %w", err)
		}
		return all, nil
	}
}

// RegistriesOf reads a user's registries.yaml: the file of NETLAB_REGISTRIES, otherwise
// netlab/registries.yaml in the directory of their configuration.
func RegistriesOf(getenv func(string) string) (registry.Config, error) {
	if file := getenv("NETLAB_REGISTRIES"); file != "" {
		if _, err := os.Stat(file); err != nil {
			return registry.Config{}, fmt.Errorf("NETLAB_REGISTRIES: %w", err)
		}
		return registry.Load(file)
	}
	dir, err := os.UserConfigDir()
	if err != nil { // without a home there is no configuration
		return registry.Config{}, nil
	}
	return registry.Load(filepath.Join(dir, "netlab", "registries.yaml"))
}

// registryFirst reports whether registries are asked before anything is built.
func (c Cache) registryFirst() bool {
	pull, build := slices.Index(c.Sources, Registry), slices.Index(c.Sources, Build)
	return pull >= 0 && (build < 0 || pull < build)
}

// offline reports whether nothing outside this machine is contacted.
func (c Cache) offline() bool { return len(c.Sources) == 0 }

// errNotAsked is why a registry was not contacted.
var errNotAsked = errors.New("registries are not contacted: NETLAB_SOURCES or --offline excludes them")

// mayBuild returns an error if builds are excluded.
func (c Cache) mayBuild(what string) error {
	if slices.Contains(c.Sources, Build) {
		return nil
	}
	return hint.With(fmt.Errorf("%s is not in the cache, and nothing is built: NETLAB_SOURCES or --offline excludes it", what),
		"import a bundle, or allow builds: NETLAB_SOURCES=registry,build")
}

// lackingError lists what labs require, the cache lacks and no source may be asked for.
type lackingError struct{ what []string }

func (l lackingError) Error() string {
	const shown = 10
	list := strings.Join(l.what[:min(len(l.what), shown)], "\n  ")
	if more := len(l.what) - shown; more > 0 {
		list += fmt.Sprintf("\n  and %d more", more)
	}
	return "the cache lacks what may not be built or downloaded (--offline, NETLAB_SOURCES):\n  " + list
}

func (l lackingError) Hint() string {
	return "import a bundle with `netlab bundle import`, or run `netlab build FILE` without --offline"
}
