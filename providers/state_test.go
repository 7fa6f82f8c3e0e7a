package providers

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// The test binary plays another netlab process: it holds a lab's lock until its
// standard input ends.
const holdEnv = "PROVIDERS_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		release, err := Root(dir).Lock(labs.MustName("a"), true)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		bufio.NewReader(os.Stdin).ReadString('\n')
		release()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder starts a process that holds the lock, or waits for it; held reports when.
func holder(t *testing.T, root Root) (cmd *exec.Cmd, held <-chan string, letGo func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+string(root))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		said <- strings.TrimSpace(line)
	}()
	return cmd, said, func() { in.Close(); cmd.Wait() }
}

func await(t *testing.T, held <-chan string) {
	t.Helper()
	select {
	case said := <-held:
		if said != "held" {
			t.Fatalf("the other process says %q", said)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the other process does not get the lock")
	}
}

func TestLockAgainstAnotherProcess(t *testing.T) {
	root := Root(filepath.Join(t.TempDir(), "state"))
	cmd, held, letGo := holder(t, root)
	await(t, held)

	var busy *BusyError
	if _, err := root.Lock(labs.MustName("a"), false); !errors.As(err, &busy) || busy.Lab != labs.MustName("a") || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) || busy.Hint() == "" {
		t.Errorf("a lock that another holds gives %v", err)
	}
	other, err := root.Lock(labs.MustName("b"), false)
	if err != nil {
		t.Errorf("another lab's lock: %v", err)
	} else {
		other()
	}
	if labs, err := root.Labs(); err != nil || len(labs) != 0 {
		t.Errorf("locks are taken for labs: %v (%v)", labs, err)
	}

	letGo()
	release, err := root.Lock(labs.MustName("a"), false)
	if err != nil {
		t.Fatalf("the lock was let go: %v", err)
	}
	_, waiting, _ := holder(t, root)
	select {
	case said := <-waiting:
		t.Errorf("two hold the lock; the second says %q", said)
	case <-time.After(200 * time.Millisecond):
	}
	release()
	await(t, waiting)
}

// A process that is killed keeps no lock, and the next to let go leaves no file.
func TestLockGoesWithItsProcess(t *testing.T) {
	root := Root(t.TempDir())
	cmd, held, _ := holder(t, root)
	await(t, held)
	cmd.Process.Kill()
	cmd.Wait()
	release, err := root.Lock(labs.MustName("a"), false)
	if err != nil {
		t.Fatal(err)
	}
	release()
	entries, err := os.ReadDir(string(root))
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v (%v)", entries, err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	root := Root(filepath.Join(t.TempDir(), "new"))
	if _, err := root.Read(labs.MustName("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state of no lab: %v", err)
	}
	if labs, err := root.Labs(); err != nil || len(labs) != 0 {
		t.Errorf("labs of a directory that is not there: %v (%v)", labs, err)
	}
	want := State{
		SchemaVersion: stateVersion,
		Plan:          topology.Plan{Lab: labs.MustName("a"), Provider: "netns", Machines: []topology.Machine{{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}}, Names: map[string][]netip.Addr{"x.test": {netip.MustParseAddr("192.0.2.1")}}},
		File:          "/labs/a.yaml", Phase: PhaseCreating, Created: time.Now().UTC().Round(0), APIPort: 40123,
		Artifacts: components.Artifacts{Rootfs: []string{"/c/r"}, Programs: map[string]string{"runc": "/c/runc"}},
	}
	if err := root.Write(want); err != nil {
		t.Fatal(err)
	}
	want.Phase = PhaseUp
	if err := root.Write(want); err != nil {
		t.Fatal(err)
	}
	got, err := root.Read(labs.MustName("a"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back\n%+v\nwant\n%+v (%v)", got, want, err)
	}
	want.Plan.Lab = labs.MustName("b")
	if err := root.Write(want); err != nil {
		t.Fatal(err)
	}
	if found, err := root.Labs(); err != nil || !slices.Equal(found, []labs.Name{labs.MustName("a"), labs.MustName("b")}) {
		t.Errorf("labs are %v (%v)", found, err)
	}
	// It names files and holds credentials: only its owner reads it, and no other file is left.
	for path, mode := range map[string]fs.FileMode{root.Dir(labs.MustName("a")): fs.ModeDir | 0o700, filepath.Join(root.Dir(labs.MustName("a")), "state.json"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), mode, err)
		}
	}
	if entries, err := os.ReadDir(root.Dir(labs.MustName("a"))); err != nil || len(entries) != 2 {
		t.Errorf("beside the state and the mark: %v (%v)", entries, err)
	}
}

// A state that is there and not whole is neither absent nor taken for a lab's, and says what to do.
func TestReadDamagedState(t *testing.T) {
	root, lab := Root(t.TempDir()), labs.MustName("a")
	for _, text := range []string{"", "{}", `{"plan": `, "null", "[]", "\x00\x00\x00", `{"schemaVersion": 1, "plan": {"lab": "a", "provider": "netns"}, "phase": "up"}`} {
		if err := errors.Join(os.MkdirAll(root.Dir(lab), 0o700), os.WriteFile(filepath.Join(root.Dir(lab), "state.json"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := root.Read(lab)
		var damaged *DamagedError
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "lab a") || !strings.Contains(err.Error(), "state.json is damaged") || !strings.Contains(damaged.Hint(), "`netlab down a`") || s.Phase != "" {
			t.Errorf("%q reads as %+v (%v)", text, s, err)
		}
	}
}

// A directory is a lab's by netlab's mark, or by a state; everything else is left alone.
func TestMark(t *testing.T) {
	root := Root(t.TempDir())
	photos, lost, made, old, torn := labs.MustName("photos"), labs.MustName("lost"), labs.MustName("made"), labs.MustName("old"), labs.MustName("torn")
	for path, text := range map[string]string{
		"photos/cat.jpg": "a cat", "lost+found/x": "", "torn/state.json": "{}", "torn/cat.jpg": "a cat",
		"old/state.json": `{"plan": {"lab": "old", "provider": "kind"}, "phase": "up"}`, "old/nodes/w1/machine.json": "{}",
	} {
		path = filepath.Join(string(root), path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(root.Dir(lost), 0o755), root.Claim(made), os.WriteFile(filepath.Join(root.Dir(made), "state.json"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if found, err := root.Labs(); err != nil || !slices.Equal(found, []labs.Name{made, old}) {
		t.Errorf("the labs are %v (%v)", found, err)
	}
	for _, lab := range []labs.Name{photos, torn} {
		for what, err := range map[string]error{"claim": root.Claim(lab), "write": root.Write(State{Plan: topology.Plan{Lab: lab}})} {
			if err == nil || !strings.Contains(err.Error(), "no mark of netlab") {
				t.Errorf("%s of the user's directory %s: %v", what, lab, err)
			}
		}
		err := root.RemoveDir(lab)
		if (err != nil) != (lab == torn) {
			t.Errorf("removal of %s: %v", lab, err)
		}
		if text, err := os.ReadFile(filepath.Join(root.Dir(lab), "cat.jpg")); lab == photos && (err != nil || string(text) != "a cat") {
			t.Errorf("the user's directory %s was removed (%v)", lab, err)
		}
	}
	for _, lab := range []labs.Name{made, old} {
		if err := root.RemoveDir(lab); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(root.Dir(lab)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left (%v)", lab, err)
		}
	}
	if err := errors.Join(root.Claim(lost), root.Claim(lost), root.RemoveDir(labs.MustName("none"))); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if info, err := os.Stat(root.Dir(lost)); err != nil || info.Mode().Perm() != 0o700 || !root.Marked(lost) {
		t.Errorf("a claimed directory is %v, marked %t (%v)", info.Mode(), root.Marked(lost), err)
	}
}

// Of a state of another version only the outline is read, and the error says how to continue.
func TestReadOtherVersions(t *testing.T) {
	root := Root(t.TempDir())
	lab := labs.MustName("a")
	if err := os.MkdirAll(root.Dir(lab), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"plan": {"lab": "a", "provider": "kind", "machines": "of another form"}, "file": "/labs/a.yaml", "phase": "up"}`:                       "an earlier version",
		`{"schemaVersion": 7, "plan": {"lab": "a", "provider": "kind", "machines": {"x": 1}}, "file": "/labs/a.yaml", "phase": "up", "new": []}`: "a later version",
	} {
		if err := os.WriteFile(filepath.Join(root.Dir(lab), "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := root.Read(lab)
		var other *VersionError
		if !errors.As(err, &other) || !strings.Contains(err.Error(), want) || !strings.Contains(other.Hint(), "`netlab down a`") || !strings.Contains(other.Hint(), "`netlab up /labs/a.yaml`") {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
		if s.Plan.Lab != lab || s.Plan.Provider != "kind" || s.File != "/labs/a.yaml" || s.Phase != PhaseUp {
			t.Errorf("%s: its outline is %+v", text, s)
		}
	}
	for _, text := range []string{`{"schemaVersion": 1, "plan": {"lab": "b"}}`, `{"schemaVersion": 1, "plan": {"lab": ".."}}`, `{"schemaVersion": 1, "plan": {}}`, `{"plan": {"lab": "b"}}`} {
		if err := os.WriteFile(filepath.Join(root.Dir(lab), "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := root.Read(lab); err == nil || errors.As(err, new(*VersionError)) || s.Plan.Lab != (labs.Name{}) {
			t.Errorf("%s: %+v (%v)", text, s, err)
		}
	}
}

func TestDefaultRoot(t *testing.T) {
	t.Setenv("NETLAB_STATE_DIR", "")
	if r := DefaultRoot(); r != "/var/lib/netlab" {
		t.Errorf("%s", r)
	}
	t.Setenv("NETLAB_STATE_DIR", "/x")
	if r := DefaultRoot().Dir(labs.MustName("lab")); r != "/x/lab" {
		t.Errorf("%s", r)
	}
}
