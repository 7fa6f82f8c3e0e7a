package engine

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDirectories: a directory is absolute and without symlinks, and one that mounts or scripts
// would misread is refused by name.
func TestDirectories(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(base)
	if err := os.Mkdir("big", 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": "big", "dangling": "nowhere"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ given, want string }{
		{"", "/var/lib/netlab"},
		{"state", base + "/state"},
		{"./state/../other", base + "/other"},
		{"link", base + "/big"},
		{"link/new/netlab", base + "/big/new/netlab"},
		{base + "/größe_1.2", base + "/größe_1.2"},
		{"/tmp/a:b", `has a ':'`}, {"/tmp/a,b", `has a ','`}, {"/tmp/a b", `has a ' '`}, {"/tmp/a\nb", `has a '\n'`}, {`/tmp/a\b`, `has a '\\'`},
		{"dangling", "is a symlink to nothing"},
	} {
		t.Setenv("NETLAB_STATE_DIR", c.given)
		got, err := directory("NETLAB_STATE_DIR", "/var/lib/netlab")
		if err != nil {
			got = err.Error()
			if !strings.Contains(got, "NETLAB_STATE_DIR") {
				t.Errorf("%q: %v does not name the variable", c.given, err)
			}
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%q: %s, want %s", c.given, got, c.want)
		}
	}
}

// TestTidy: the user's shell does not reach the programs that netlab runs.
func TestTidy(t *testing.T) {
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	t.Setenv("LD_PRELOAD", "/no/such.so")
	t.Setenv("LD_LIBRARY_PATH", "/opt")
	t.Setenv("BASH_ENV", "/root/.rc")
	t.Setenv("HOME", "")
	if err := tidy(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV"} {
		if value, set := os.LookupEnv(name); set {
			t.Errorf("%s is still %q", name, value)
		}
	}
	if home := os.Getenv("HOME"); !filepath.IsAbs(home) {
		t.Errorf("HOME is %q", home)
	}
	if mask := syscall.Umask(0o022); mask != 0o022 {
		t.Errorf("the umask is %03o", mask)
	}
}
