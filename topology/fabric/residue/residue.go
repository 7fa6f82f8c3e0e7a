// Package residue detects what a lab left on the machine: it takes a Snapshot before and one
// after, and the Diff of the two as text. It is for tests. It requires root, and runs no
// commands but the listing tools of the firewall.
//
// It reads the calling process's namespaces. It ignores what changes by itself: kernel
// threads, zombies, counters, the caller and its ancestors, and values that vary between two
// reads of an idle machine.
package residue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Snapshot maps a kind of object ("link", "mount", "process", …) to the existing objects, each
// with its state. It can be stored as JSON.
type Snapshot map[string]map[string]string

// readers are the kinds, each with what lists it.
func readers() map[string]func() (map[string]string, error) {
	return map[string]func() (map[string]string, error){
		"link":              links,
		"address":           addresses,
		"route":             routes,
		"routing rule":      rules,
		"namespace name":    namespaceNames,
		"network namespace": networkNamespaces,
		"mount":             mounts,
		"cgroup":            cgroups,
		"process":           processes,
		"sysctl":            sysctls,
		"file in /run":      runFiles,
		"eBPF":              bpf,
		"nft rule":          nftRules,
		"iptables rule":     iptablesRules,
	}
}

// Take reads the machine.
func Take() (Snapshot, error) {
	s := Snapshot{}
	var errs []error
	for kind, read := range readers() {
		things, err := read()
		if err != nil {
			errs = append(errs, fmt.Errorf("list each %s: %w", kind, err))
		}
		s[kind] = things
	}
	return s, errors.Join(errs...)
}

// Diff returns a line for each object that was added, removed or changed, sorted by kind. It
// compares only sysctls that are in both, and lists only the top of an added or removed cgroup
// subtree.
func Diff(before, after Snapshot) []string {
	var out []string
	kinds := maps.Clone(before)
	maps.Copy(kinds, after)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		was, is := before[kind], after[kind]
		things := maps.Clone(was)
		if things == nil {
			things = map[string]string{}
		}
		maps.Copy(things, is)
		for _, thing := range slices.Sorted(maps.Keys(things)) {
			old, existed := was[thing]
			now, exists := is[thing]
			parent := filepath.Dir(thing)
			_, parentExisted := was[parent]
			_, parentExists := is[parent]
			switch {
			case existed != exists && kind == "sysctl":
				// A kernel module or a link adds its own files.
			case existed != exists && kind == "cgroup" && parentExisted != parentExists:
				// One line for the whole subtree.
			case !existed:
				out = append(out, line("left", kind, thing, now))
			case !exists:
				out = append(out, line("lost", kind, thing, old))
			case old != now:
				out = append(out, fmt.Sprintf("changed: %s %s: was %s, is %s", kind, thing, old, now))
			}
		}
	}
	return out
}

func line(what, kind, thing, state string) string {
	if state == "" {
		return what + ": " + kind + " " + thing
	}
	return what + ": " + kind + " " + thing + " (" + state + ")"
}

// Settle compares the machine with before repeatedly, until nothing differs or ctx is done,
// and returns the last Diff. The kernel removes network namespaces and cgroups some time after
// their last user has exited.
func Settle(ctx context.Context, before Snapshot) ([]string, error) {
	for {
		after, err := Take()
		if err != nil {
			return nil, err
		}
		diff := Diff(before, after)
		if len(diff) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return diff, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func set(names []string) map[string]string {
	out := make(map[string]string, len(names))
	for _, n := range names {
		out[n] = ""
	}
	return out
}

// optional treats a missing directory as empty.
func optional(entries []os.DirEntry, err error) ([]os.DirEntry, error) {
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
