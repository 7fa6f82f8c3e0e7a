package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/lockfile"
	"netlab.dev/netlab/labs"
)

// sysctls is the record of a machine's sysctls that are the same in every namespace: a privileged
// Pod has a /proc/sys of its own, and what it writes there, such as vm.max_map_count, would stay.
// They are recorded before the first lab starts, and put back when the last one has ended: labs that
// run at the same time share them.
type sysctls struct {
	record string   // its file; there while labs run
	proc   string   // /proc/sys
	boot   string   // the file with the id of this boot: a reboot resets sysctls
	config []string // files of sysctl.conf(5): what they set is the machine's own
}

func machineSysctls() sysctls {
	var config []string
	for _, pattern := range []string{"/usr/lib/sysctl.d/*.conf", "/run/sysctl.d/*.conf", "/etc/sysctl.d/*.conf", "/etc/sysctl.conf"} {
		files, _ := filepath.Glob(pattern)
		config = append(config, files...)
	}
	return sysctls{"/run/netlab-sysctls.json", "/proc/sys", "/proc/sys/kernel/random/boot_id", config}
}

// sysctlRecord is the content of the record.
type sysctlRecord struct {
	Boot   string
	Labs   []labs.Name // that run
	Values map[string]string
}

// sysctlLimit bounds the wait for another netlab that reads or writes the record.
const sysctlLimit = 5 * time.Second

// begin records the machine's sysctls, unless labs run, and that the lab runs.
func (s sysctls) begin(ctx context.Context, lab labs.Name) error {
	return s.change(ctx, func(r *sysctlRecord) {
		if len(r.Labs) == 0 {
			r.Values = s.values()
		}
		if !slices.Contains(r.Labs, lab) {
			r.Labs = append(r.Labs, lab)
		}
	})
}

// end puts the machine's sysctls back if no other lab runs. A value that the kernel refuses stays:
// some are final until a reboot.
func (s sysctls) end(ctx context.Context, lab labs.Name) error {
	if !exists(s.record) {
		return nil
	}
	return s.change(ctx, func(r *sysctlRecord) {
		known := slices.Contains(r.Labs, lab)
		r.Labs = slices.DeleteFunc(r.Labs, func(l labs.Name) bool { return l == lab })
		if !known || len(r.Labs) > 0 {
			return
		}
		for _, name := range s.changed(*r) {
			_ = os.WriteFile(filepath.Join(s.proc, name), []byte(r.Values[name]), 0)
		}
	})
}

// changed lists the sysctls that differ from the record, and that the machine's configuration did not
// set. Those that were zero come first: of two that exclude each other (vm.overcommit_kbytes and
// _ratio), one that is written resets the other.
func (s sysctls) changed(r sysctlRecord) (names []string) {
	set := s.configured()
	for name, is := range s.values() {
		if was, recorded := r.Values[name]; recorded && was != is && set[name] != squeeze(is) {
			names = append(names, name)
		}
	}
	last := func(name string) int {
		if squeeze(r.Values[name]) == "0" {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(last(a)-last(b), strings.Compare(a, b)) })
	return names
}

// change changes the record, under its lock, and removes it when no lab runs.
func (s sysctls) change(ctx context.Context, do func(*sysctlRecord)) error {
	release, err := lockfile.Take(ctx, s.record+".lock", sysctlLimit, nil)
	if err != nil {
		return err
	}
	defer release()
	boot, err := os.ReadFile(s.boot)
	if err != nil {
		return err
	}
	var r sysctlRecord
	if _, err := atomicfile.ReadJSON(s.record, &r); err != nil && !errors.As(err, new(*atomicfile.DamagedError)) {
		return err
	}
	if r.Boot != string(boot) {
		r = sysctlRecord{Boot: string(boot)}
	}
	do(&r)
	if len(r.Labs) == 0 {
		return os.RemoveAll(s.record)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.record, data, 0o600)
}

// ownSysctls are not recorded: those of namespaces, those that the kernel changes by itself, and the
// one that netlab asks to be raised (inotifyNeed).
var ownSysctls = []string{"net", "user", "fs/binfmt_misc", "fs/mqueue", "fs/inotify/max_user_instances",
	"kernel/hostname", "kernel/domainname", "kernel/msg*", "kernel/shm*", "kernel/sem*", "kernel/auto_msgmni", "kernel/ns_last_pid", "kernel/pid_max",
	"kernel/tainted", "vm/drop_caches", "vm/compact_memory", "kernel/random", "kernel/perf_*", "kernel/sched_domain"}

// values reads the sysctls that can be written.
func (s sysctls) values() map[string]string {
	all := map[string]string{}
	root := os.DirFS(s.proc)
	_ = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		own := slices.ContainsFunc(ownSysctls, func(p string) bool { is, _ := filepath.Match(p, name); return is })
		switch {
		case err != nil || own && !d.IsDir():
			return nil
		case own:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o600 != 0o600 {
			return nil // some are only written, such as vm.drop_caches
		}
		if data, err := fs.ReadFile(root, name); err == nil {
			all[name] = string(data)
		}
		return nil
	})
	return all
}

// configured returns what the machine's configuration sets.
func (s sysctls) configured() map[string]string {
	set := map[string]string{}
	for _, file := range s.config {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "-"), "=")
			if found && !strings.HasPrefix(name, "#") && !strings.HasPrefix(name, ";") {
				set[strings.ReplaceAll(strings.TrimSpace(name), ".", "/")] = squeeze(value)
			}
		}
	}
	return set
}

// squeeze makes the white space of two values equal.
func squeeze(value string) string { return strings.Join(strings.Fields(value), " ") }
