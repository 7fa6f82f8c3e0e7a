// Package residue tells what a lab left on the machine: a Snapshot before, one after,
// and the Diff of the two, in words. It is for tests. It reads as root what can be
// read, and runs nothing but the firewall's own listing tools.
//
// It looks from the calling process's namespaces. Left out is what changes by itself:
// kernel threads, zombies, counters, the caller and its ancestors, and lines that
// vary between two reads of an idle machine.
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

// Snapshot maps a kind of thing ("link", "mount", "process", …) to the things that
// exist, each with what may change about it. It can be kept as JSON.
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

// Diff gives a line for each thing that is there after and was not before, that is
// gone, or that has changed; sorted by kind. Of sysctls it compares those that are in
// both, of cgroups it names the top of what came or went.
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
				// A kernel module or a link brings files of its own.
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

// Settle compares the machine with before again and again, until nothing differs or
// ctx is done, and gives the last Diff. The kernel removes network namespaces and
// cgroups some time after their last user has gone.
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

// optional takes a directory that is not there for an empty one.
func optional(entries []os.DirEntry, err error) ([]os.DirEntry, error) {
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
