package residue

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func namespaceNames() (map[string]string, error) {
	entries, err := optional(os.ReadDir("/run/netns"))
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()] = ""
	}
	return out, err
}

// networkNamespaces are those in which a process of processes runs.
func networkNamespaces() (map[string]string, error) {
	out := map[string]string{}
	return out, eachProcess(func(p process) {
		if ns, err := os.Readlink(p.file("ns/net")); err == nil {
			out[ns] = ""
		}
	})
}

// mounts counts, for one mount may lie over another of the same kind.
func mounts() (map[string]string, error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	count := map[string]int{}
	for line := range strings.Lines(string(data)) {
		place, source, _ := strings.Cut(line, " - ")
		p, s := strings.Fields(place), strings.Fields(source)
		if len(p) > 4 && len(s) > 1 {
			count[fmt.Sprintf("%s (%s %s %s)", p[4], s[0], s[1], p[3])]++
		}
	}
	out := map[string]string{}
	for name, n := range count {
		out[name] = ""
		if n > 1 {
			out[name] = strconv.Itoa(n) + " times"
		}
	}
	return out, err
}

// cgroups are the directories of every hierarchy that is mounted. Groups next to that of this
// process belong to whatever started it, which may start and end others in the meantime.
func cgroups() (map[string]string, error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(data)) {
		place, source, _ := strings.Cut(line, " - ")
		if p := strings.Fields(place); strings.HasPrefix(source, "cgroup") && len(p) > 4 {
			filepath.WalkDir(p[4], func(path string, d fs.DirEntry, err error) error {
				switch {
				case err != nil || !d.IsDir(): // a group that goes away while it is read is not there
				case siblingGroup(string(own), strings.TrimPrefix(path, p[4])):
					return fs.SkipDir
				default:
					dirs = append(dirs, path)
				}
				return nil
			})
		}
	}
	return set(dirs), nil
}

// siblingGroup reports whether group, a path within its hierarchy, is next to a group of own,
// the text of /proc/self/cgroup. Groups at the top have no siblings: a lab's would be among them.
func siblingGroup(own, group string) bool {
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && filepath.Dir(f[2]) != "/" && filepath.Dir(f[2]) == filepath.Dir(group) && f[2] != group {
			return true
		}
	}
	return false
}

// runFiles are the entries of /run, one level deep.
func runFiles() (map[string]string, error) {
	entries, err := os.ReadDir("/run")
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()] = ""
	}
	return out, err
}

func processes() (map[string]string, error) {
	out := map[string]string{}
	return out, eachProcess(func(p process) {
		cmdline, err := os.ReadFile(p.file("cmdline"))
		if err != nil {
			return
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		if len(text) > 200 {
			text = text[:200] + "…"
		}
		out[fmt.Sprintf("%d since tick %s: %s", p.pid, p.start, text)] = ""
	})
}

type process struct {
	pid   int
	start string
}

func (p process) file(name string) string { return filepath.Join("/proc", strconv.Itoa(p.pid), name) }

// eachProcess leaves out kernel threads, zombies, and this process and its ancestors.
func eachProcess(visit func(process)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	type row struct {
		process
		parent int
		kernel bool
	}
	rows := map[int]row{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// proc_pid_stat(5), counted from behind the name: state, ppid, …, starttime.
		f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		flags, _ := strconv.ParseUint(f[6], 10, 64)
		const pfKthread = 0x00200000 // linux/sched.h
		rows[pid] = row{process{pid, f[19]}, parent, flags&pfKthread != 0}
	}
	var own []int
	for pid := os.Getpid(); pid != 0 && !slices.Contains(own, pid); pid = rows[pid].parent {
		own = append(own, pid)
	}
	for pid, r := range rows {
		if !r.kernel && !slices.Contains(own, pid) {
			visit(r.process)
		}
	}
	return nil
}

// volatile are the sysctls that change on an idle machine, or that act when read.
func volatile() []string {
	return []string{
		"fs/aio-nr", "fs/binfmt_misc", "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/quota",
		"fs/mqueue", "fs/xfs", "kernel/cad_pid", "kernel/hung_task_detect_count", "kernel/ns_last_pid", "kernel/pty/nr",
		"kernel/random", "kernel/sched_domain", "kernel/tainted", "net/ipv4/tcp_fastopen_key",
		"net/netfilter/nf_conntrack_count", "vm/compact_memory", "vm/drop_caches", "vm/stat_refresh",
	}
}

// sysctls are the values of all readable files under /proc/sys but the volatile ones.
func sysctls() (map[string]string, error) {
	const root = "/proc/sys"
	out, skip := map[string]string{}, volatile()
	return out, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // the files of a link go with it
		}
		name, _ := filepath.Rel(root, path)
		if slices.Contains(skip, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err != nil || d.IsDir() || info.Mode().Perm()&0o444 == 0 {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil {
			out[name] = strings.TrimSpace(string(data))
		}
		return nil
	})
}
