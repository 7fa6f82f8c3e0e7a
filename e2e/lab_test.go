// Package e2e makes real labs with the program that users run, and checks what its commands
// print, leave running and leave behind. It takes root; without it, or with -short, it skips.
// What providers do by themselves is in providertest; benchmarks are in bench.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
	"netlab.dev/netlab/verify/report"
)

// TestLabs makes real labs with the netlab that users get. The quickstart lab is made
// once and looked at, broken, mended and changed in place; others come after it. Each
// part makes what it needs if it is not there, so that -run takes any of them alone.
func TestLabs(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	quick := l.lab(t, "nlt-quick", quickstart(t)+briefly)
	if t.Run("quickstart", quick.quickstart) {
		t.Run("verbs", quick.verbs)
		t.Run("evidence", quick.evidence)
		t.Run("faults", quick.faults)
		t.Run("impaired", quick.impaired)
		t.Run("guest", quick.guest)
		t.Run("refused", quick.refused)
		t.Run("mend", quick.mend)
		t.Run("restore", quick.restored)
		t.Run("snapshots", quick.saved)
		t.Run("stop and start", quick.stopped)
		t.Run("change", quick.change)
		t.Run("edit", quick.edited)
		t.Run("down", quick.goes)
	}
	quick.remove(t)
	t.Run("two labs", l.two)
	t.Run("killed", l.killed)
	t.Run("three control planes", l.highlyAvailable)
}

// names of all labs that the tests make.
func names() []string {
	return []string{"nlt-quick", "nlt-one", "nlt-two", "nlt-kill", "nlt-ha", nameOfCNI, nameOfShop, nameGenerated, nameOffline, nameBGP, nameByHand, nameCloud, nameVersions, nameOfCompared, nameOfExercises, nameOfRouted}
}

// labs are those of one test run: one netlab, one state directory, the user's cache.
type labs struct {
	netlab string
	dir    string
	state  string
	before residue.Snapshot
}

func newLabs(t *testing.T) *labs {
	dir := t.TempDir()
	l := &labs{netlab: filepath.Join(dir, "netlab"), dir: dir, state: filepath.Join(dir, "state")}
	l.build(t)
	for _, name := range names() {
		providertest.RemoveKilled(t, l.netlab, l.state, name)
	}
	var err error
	if l.before, err = residue.Take(); err != nil {
		t.Fatal(err)
	}
	return l
}

// build builds netlab.
func (l *labs) build(t *testing.T, flags ...string) {
	t.Helper()
	build := exec.Command("go", append([]string{"build", "-trimpath", "-o", l.netlab}, append(flags, "netlab.dev/netlab")...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// lab is one lab and its file.
type lab struct {
	*labs
	name string
	file string
	text string
}

// lab writes a lab's file under one of names. The lab is removed at the test's end.
func (l *labs) lab(t *testing.T, name, text string) *lab {
	t.Helper()
	b := &lab{labs: l, name: name, file: filepath.Join(l.dir, name+".yaml"), text: text}
	b.write(t, text)
	t.Cleanup(func() { b.remove(t) })
	return b
}

func (b *lab) write(t *testing.T, text string) {
	t.Helper()
	text = "metadata: {name: " + b.name + "}\n" + text
	if err := os.WriteFile(b.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// quickstart is the ready lab of that name, without its name.
func quickstart(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../scenarios/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return replaced(t, string(data), "metadata: {name: quickstart}\n", "")
}

func replaced(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not once in\n%s", old, text)
	}
	return strings.Replace(text, old, new, 1)
}

func (b *lab) remove(t *testing.T) {
	t.Helper()
	if out, err := b.command("down", b.name).CombinedOutput(); err != nil {
		t.Errorf("netlab down %s: %v\n%s", b.name, err, out)
	}
}

// up creates the lab from its file, without verifying it.
func (b *lab) up(t *testing.T) {
	t.Helper()
	b.run(t, 0, "up", "--no-verify", b.file)
}

func (l *labs) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.netlab, args...)
	cmd.Env = append(os.Environ(), "NETLAB_STATE_DIR="+l.state)
	return cmd
}

// run runs netlab, which has to exit with want, and gives its standard output.
func (l *labs) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, _ := l.output(t, want, args...)
	return out
}

func (l *labs) output(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	began := time.Now()
	cmd := l.command(args...)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("netlab %s: exit code %d, want %d (%v)\n%s%s", strings.Join(args, " "), code, want, err, out.String(), progress.String())
	}
	if took := time.Since(began); took > time.Second {
		t.Logf("%5.1f s  netlab %s", took.Seconds(), strings.Join(args[:min(3, len(args))], " "))
	}
	return out.String(), progress.String()
}

// exec runs a shell script in a machine.
func (b *lab) exec(t *testing.T, machine, script string) string {
	t.Helper()
	return b.run(t, 0, "exec", b.name, machine, "--", "sh", "-ec", script)
}

func (b *lab) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return b.run(t, 0, append([]string{"kubectl", b.name, "--"}, args...)...)
}

// verify runs the verification, whose exit status has to be want.
func (b *lab) verify(t *testing.T, want int) report.Report {
	t.Helper()
	began := time.Now()
	cmd := b.command("verify", b.name, "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Logf("%5.1f s  verify", time.Since(began).Seconds())
	var r report.Report
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("verify: %v, %v\n%s", err, jerr, stderr.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("verify: exit code %d, want %d; %+v", code, want, r.Summary)
	}
	return r
}

// passes verifies the lab and requires every path to pass.
func (b *lab) passes(t *testing.T) {
	t.Helper()
	checkPasses(t, b.verify(t, 0))
}

func checkPasses(t *testing.T, r report.Report) {
	t.Helper()
	for _, p := range r.Paths {
		if p.Outcome != report.Pass && p.Outcome != report.Skip {
			t.Errorf("%s: %s", p.Outcome, describe(p))
		}
	}
	if r.Summary.Pass < 30 {
		t.Errorf("only %d paths pass", r.Summary.Pass)
	}
}

func describe(p report.Result) string {
	return p.ID + " " + p.From.Name + " → " + p.To.Name + ": " + p.Reason
}

// boots returns for each Node the start time of its PID 1.
func (b *lab) boots(t *testing.T, nodes ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, n := range nodes {
		out[n] = strings.Fields(b.exec(t, n, "cut -d' ' -f22 /proc/1/stat"))[0]
	}
	return out
}

// clean checks that nothing of the lab is left anywhere.
func (b *lab) clean(t *testing.T) {
	t.Helper()
	providertest.NothingLeft(t, b.before, b.name)
	var listed []struct{ Lab string }
	if err := json.Unmarshal([]byte(b.run(t, 0, "list", "-o", "json")), &listed); err != nil {
		t.Fatal(err)
	}
	for _, s := range listed {
		if s.Lab == b.name {
			t.Errorf("netlab list still has %s", b.name)
		}
	}
	entries, err := os.ReadDir(b.state)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), b.name) {
			t.Errorf("left in the state directory: %s", e.Name())
		}
	}
}

// pids lists the lab's processes on this machine whose arguments begin with argv, any
// program path first.
func (b *lab) pids(t *testing.T, argv ...string) []int {
	t.Helper()
	var out []int
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		env, _ := os.ReadFile(dir + "/environ")
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
		if slices.Contains(strings.Split(string(env), "\x00"), "NETLAB_LAB="+b.name) &&
			len(args) > len(argv) && slices.Equal(args[1:1+len(argv)], argv) {
			out = append(out, atoi(t, filepath.Base(dir)))
		}
	}
	return out
}

// started is a netlab in the background; lines gives its standard error as it comes and
// is closed at its end.
func (l *labs) started(t *testing.T, args ...string) (cmd *exec.Cmd, lines <-chan string) {
	t.Helper()
	cmd = l.command(args...)
	r, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(r); s.Scan(); {
			out <- s.Text()
		}
	}()
	return cmd, out
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
