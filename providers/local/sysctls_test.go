package local

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
)

// sysctlScene is a /proc/sys of files.
type sysctlScene struct {
	*testing.T
	sysctls
}

func newSysctls(t *testing.T) sysctlScene {
	dir := t.TempDir()
	s := sysctlScene{t, sysctls{filepath.Join(dir, "sysctls.json"), filepath.Join(dir, "sys"), filepath.Join(dir, "boot"), []string{filepath.Join(dir, "own.conf")}}}
	s.put(s.boot, "one\n")
	s.set(map[string]string{"vm/max_map_count": "65530\n", "kernel/core_pattern": "core\n", "kernel/tainted": "0\n", "net/ipv4/ip_forward": "0\n"})
	return s
}

func (s sysctlScene) put(file, text string) {
	s.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

func (s sysctlScene) set(values map[string]string) {
	for name, value := range values {
		s.put(filepath.Join(s.proc, name), value)
	}
}

func (s sysctlScene) want(when string, want map[string]string) {
	s.Helper()
	is := map[string]string{}
	for name := range want {
		is[name] = mustRead(s.T, filepath.Join(s.proc, name))
	}
	if !maps.Equal(is, want) {
		s.Errorf("%s: sysctls are %q, want %q", when, is, want)
	}
}

func (s sysctlScene) begins(lab string) {
	s.Helper()
	if err := s.begin(s.Context(), labs.MustName(lab)); err != nil {
		s.Fatal(err)
	}
}

func (s sysctlScene) ends(lab string) {
	s.Helper()
	if err := s.end(s.Context(), labs.MustName(lab)); err != nil {
		s.Fatal(err)
	}
}

// What Pods of labs set is put back when the last lab has ended; what is a namespace's own, or the
// kernel's, is left alone.
func TestSysctlsArePutBack(t *testing.T) {
	s := newSysctls(t)
	s.begins("a")
	changed := map[string]string{"vm/max_map_count": "262144\n", "kernel/core_pattern": "|/bin/sh\n", "kernel/tainted": "4096\n", "net/ipv4/ip_forward": "1\n"}
	s.set(changed)
	s.begins("b") // what another lab changed is not part of a lab's baseline
	s.begins("a") // `up` again
	s.ends("a")
	s.want("another lab runs", changed)
	s.ends("b")
	s.want("no lab runs", map[string]string{"vm/max_map_count": "65530\n", "kernel/core_pattern": "core\n", "kernel/tainted": "4096\n", "net/ipv4/ip_forward": "1\n"})
	if exists(s.record) {
		t.Error("the record stays")
	}
	s.set(changed)
	s.ends("b")
	s.want("`down` again, without a lab", changed)
}

// Of two that exclude each other the one that was not zero is written last.
func TestSysctlOrder(t *testing.T) {
	s := newSysctls(t)
	was := map[string]string{"vm/overcommit_ratio": "50\n", "vm/overcommit_kbytes": "0\n", "vm/a": "7\n", "vm/same": "1\n"}
	s.set(map[string]string{"vm/overcommit_ratio": "0\n", "vm/overcommit_kbytes": "1024\n", "vm/a": "8\n", "vm/same": "1\n"})
	if is, want := s.changed(sysctlRecord{Values: was}), []string{"vm/overcommit_kbytes", "vm/a", "vm/overcommit_ratio"}; !slices.Equal(is, want) {
		t.Errorf("they are written in the order %v, want %v", is, want)
	}
}

// What the machine's configuration sets was set by its administrator, while the lab ran; and the
// record of another boot is out of date.
func TestSysctlsOfTheMachine(t *testing.T) {
	s := newSysctls(t)
	s.begins("a")
	s.put(s.config[0], "# for a database\nvm.max_map_count=  262144\n")
	s.set(map[string]string{"vm/max_map_count": "262144\n", "kernel/core_pattern": "x\n"})
	s.ends("a")
	s.want("configured", map[string]string{"vm/max_map_count": "262144\n", "kernel/core_pattern": "core\n"})

	s.begins("a")
	s.put(s.boot, "two\n")
	s.set(map[string]string{"kernel/core_pattern": "of this boot\n"})
	s.begins("b")
	s.ends("b")
	s.want("after a reboot", map[string]string{"kernel/core_pattern": "of this boot\n"})
}
