package components

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LockSchema is the schema version of the locks that this netlab writes, and the only one that it
// reads.
const LockSchema = 1

// Lock is the software of a lab, exactly: the version of every component, and the digest of all
// that comes from a source. It is written next to the lab file. Equal software gives equal bytes.
type Lock struct {
	SchemaVersion int               `json:"schemaVersion"`
	Netlab        string            `json:"netlab"`   // version that wrote it; another one may use it
	Platform      string            `json:"platform"` // of the digests, such as linux/amd64
	Components    map[string]string `json:"components"`
	Ingredients   []Ingredient      `json:"ingredients"` // by name
}

// Ingredient is a part of a lab's software that comes from a source as a whole: an image, a layer of
// Debian packages, the programs and charts of a Go module, a cloud image. What netlab adds to it
// here, such as itself, is none.
type Ingredient struct {
	Name   string `json:"name"`   // what it is, with its reference: "image registry.k8s.io/pause:3.10.2"
	Digest string `json:"digest"` // sha256 of an image's manifest, or of an archive of its files
	From   string `json:"from"`   // its source, also where a bundle brought it
}

// NewLock is the lock of a Set that was obtained.
func NewLock(netlab, platform string, obtained Artifacts) Lock {
	return Lock{LockSchema, netlab, platform, obtained.Versions, obtained.Ingredients}
}

// ParseLock reads a lock strictly.
func ParseLock(text []byte) (Lock, error) {
	var header struct {
		SchemaVersion int    `json:"schemaVersion"`
		Netlab        string `json:"netlab"`
	}
	var l Lock
	if err := json.Unmarshal(text, &header); err != nil {
		return l, fmt.Errorf("not a lock: %w", err)
	}
	if header.SchemaVersion != LockSchema {
		return l, fmt.Errorf("schema version %d, written by netlab %q; this netlab reads version %d", header.SchemaVersion, header.Netlab, LockSchema)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return l, fmt.Errorf("not a lock: %w", err)
	}
	seen := map[string]bool{}
	for _, i := range l.Ingredients {
		if i.Name == "" || i.Digest == "" || seen[i.Name] {
			return l, fmt.Errorf("not a lock: ingredient %q has no name, no digest, or is there twice", i.Name)
		}
		seen[i.Name] = true
	}
	return l, nil
}

// Text is the lock as it is written.
func (l Lock) Text() ([]byte, error) {
	text, err := json.MarshalIndent(l, "", "  ")
	return append(text, '\n'), err
}

// Find returns a locked ingredient. A lab without a lock has none.
func (l *Lock) Find(name string) (Ingredient, bool) {
	if l == nil {
		return Ingredient{}, false
	}
	for _, i := range l.Ingredients {
		if i.Name == name {
			return i, true
		}
	}
	return Ingredient{}, false
}

// Excludes reports that there is a lock, and an ingredient is not in it.
func (l *Lock) Excludes(name string) bool {
	_, locked := l.Find(name)
	return l != nil && !locked
}

// Versions returns how versions of components differ from the locked ones, one line each.
func (l *Lock) Versions(versions map[string]string) (lines []string) {
	if l == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		switch locked, version := l.Components[name], versions[name]; locked {
		case version:
		case "":
			lines = append(lines, fmt.Sprintf("%s %s: not in the lock", name, version))
		default:
			lines = append(lines, fmt.Sprintf("%s %s: locked is %s", name, version, locked))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Components)) {
		if _, used := versions[name]; !used {
			lines = append(lines, fmt.Sprintf("%s %s: in the lock, and the lab does not use it", name, l.Components[name]))
		}
	}
	return lines
}

// Digests returns which ingredients have another digest than the locked one, one line each.
func (l *Lock) Digests(have []Ingredient) (lines []string) {
	for _, i := range have {
		if locked, there := l.Find(i.Name); there && locked.Digest != i.Digest {
			lines = append(lines, fmt.Sprintf("%s: %s from %s, locked is %s from %s", i.Name, short(i.Digest), i.From, short(locked.Digest), locked.From))
		}
	}
	return lines
}

// Unlocked returns which of some names are not in the lock, one line each.
func (l *Lock) Unlocked(names []string) (lines []string) {
	for _, name := range names {
		if l.Excludes(name) {
			lines = append(lines, name+": not in the lock")
		}
	}
	return lines
}

// Differences returns how ingredients differ from the locked ones, one line each.
func (l *Lock) Differences(have []Ingredient) []string {
	if l == nil {
		return nil
	}
	var names []string
	for _, i := range have {
		names = append(names, i.Name)
	}
	lines := append(l.Digests(have), l.Unlocked(names)...)
	for _, i := range l.Ingredients {
		if !slices.Contains(names, i.Name) {
			lines = append(lines, i.Name+": in the lock, and the lab does not use it")
		}
	}
	return lines
}

// short is a digest as people compare it.
func short(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return algorithm + ":" + hex[:min(12, len(hex))]
}

// LockError reports that software is not what a lock says.
type LockError struct {
	What  string   // of whose software
	Lines []string // one for each difference
}

// Unlike is a LockError, or nil without differences.
func Unlike(what string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	return &LockError{what, lines}
}

func (e *LockError) Error() string {
	const shown = 20
	text := e.What + " differs from the lock:\n  " + strings.Join(e.Lines[:min(len(e.Lines), shown)], "\n  ")
	if more := len(e.Lines) - shown; more > 0 {
		text += fmt.Sprintf("\n  and %d more", more)
	}
	return text
}

// Hint says what to do.
func (e *LockError) Hint() string {
	return "`netlab lock FILE` locks what the file gives here and now; a bundle brings the software that another machine locked"
}

// Prefer returns the catalogue with these versions, by component, as the default ones. Those that
// it lacks change nothing.
func (c Catalog) Prefer(versions map[string]string) Catalog {
	preferred := maps.Clone(c)
	for name, version := range versions {
		at := slices.IndexFunc(c[name], func(k Component) bool { return k.Version == version })
		if at > 0 {
			k := c[name][at]
			preferred[name] = slices.Insert(slices.Delete(slices.Clone(c[name]), at, at+1), 0, k)
		}
	}
	return preferred
}

// Versions are those of the set's components, by name.
func (s Set) Versions() map[string]string {
	versions := map[string]string{}
	for _, k := range s.Components {
		versions[k.Name] = k.Version
	}
	return versions
}
