// Package pulumi runs Pulumi's own engine and command line with pulumi-resource-netlab on real labs:
// YAML programs, a backend of files, and no network. Pulumi is built from its Go modules, which
// takes ten minutes of CPU the first time: `make test-pulumi` and `make test-all` run it.
package pulumi

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
)

// The labs that tests make.
const (
	nameLab       = "nlt-pulumi"
	nameImported  = "nlt-imported"
	nameCancelled = "nlt-cancelled"
)

// cut is the network namespace that everything runs in: it has nothing but a loopback.
const cut = "nlt-pulumi-cut"

// bin is the directory of the programs that are built. It is set once.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "netlab-pulumi-")
	if err != nil {
		panic(err)
	}
	bin = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// programs are what is built: netlab, its plugin, Pulumi, the language host of YAML programs, and the
// generator of SDKs.
var programs = map[string]struct{ module, pkg, flags string }{
	"netlab":                 {"../..", ".", ""},
	"pulumi-resource-netlab": {"../..", "./pulumi/pulumi-resource-netlab", ""},
	"pulumi":                 {"../../pulumi/codegen", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=3.276.0"},
	"pulumi-language-yaml":   {"../../pulumi/yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml", ""},
	"codegen":                {"../../pulumi/codegen", ".", ""},
}

// build builds the programs that no test before has built.
func build(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		path, of := filepath.Join(bin, name), programs[name]
		if _, err := os.Stat(path); err == nil {
			continue
		}
		tool(t, of.module, "go", "build", "-trimpath", "-ldflags", "-s -w "+of.flags, "-o", path, of.pkg)
	}
}

// tool runs a program in a directory.
func tool(t *testing.T, dir string, argv ...string) {
	t.Helper()
	began := time.Now()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	t.Logf("%5.1f s  %s", time.Since(began).Seconds(), strings.Join(argv, " "))
}

// isolate makes the namespace without a network.
func isolate(t *testing.T) {
	t.Helper()
	_ = exec.Command("ip", "netns", "delete", cut).Run() // what a killed test left
	for _, command := range []string{"ip netns add " + cut, "ip -n " + cut + " link set lo up"} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", cut).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// stack is a Pulumi project with one stack.
type stack struct{ dir string } // of the project; the others are below it

// newStack returns an empty stack, and removes the labs that a killed test left.
func newStack(t *testing.T, labs ...string) stack {
	t.Helper()
	providertest.NeedLabs(t)
	isolate(t)
	build(t, "netlab", "pulumi-resource-netlab", "pulumi", "pulumi-language-yaml")
	s := stack{t.TempDir()}
	if err := os.MkdirAll(filepath.Join(s.dir, "backend"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.program(t, "outputs: {}\n")
	s.run(t, 0, "pulumi", "stack", "init", "dev")
	for _, name := range labs {
		providertest.RemoveKilled(t, filepath.Join(bin, "netlab"), filepath.Join(s.dir, "state"), name)
		t.Cleanup(func() { s.run(t, 0, "netlab", "down", name) })
	}
	return s
}

// program writes the stack's program.
func (s stack) program(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "Pulumi.yaml"), []byte("name: labs\nruntime: yaml\n"+text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command is a program in the project, with no network.
func (s stack) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + cut, filepath.Join(bin, program)}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NETLAB_STATE_DIR="+filepath.Join(s.dir, "state"),
		"PULUMI_HOME="+filepath.Join(s.dir, "home"), "PULUMI_BACKEND_URL=file://"+filepath.Join(s.dir, "backend"), "PULUMI_CONFIG_PASSPHRASE=x",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true", "PULUMI_SKIP_UPDATE_CHECK=true")
	return cmd
}

// run runs a program, which has to exit with want, and returns all that it printed.
func (s stack) run(t *testing.T, want int, program string, args ...string) string {
	t.Helper()
	began := time.Now()
	cmd := s.command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("%s %s: exit code %d, want %d (%v)\n%s", program, strings.Join(args, " "), code, want, err, out.String())
	}
	if took := time.Since(began); took > 300*time.Millisecond {
		t.Logf("%5.1f s  %s %s", took.Seconds(), program, strings.Join(args[:min(3, len(args))], " "))
	}
	return out.String()
}

// up, preview, refresh and destroy are the commands of that name; their exit code has to be want.
func (s stack) up(t *testing.T, want int, flags ...string) string {
	t.Helper()
	return s.run(t, want, "pulumi", append([]string{"up", "--yes", "--skip-preview", "--non-interactive", "--color=never"}, flags...)...)
}

func (s stack) preview(t *testing.T, flags ...string) string {
	t.Helper()
	return s.run(t, 0, "pulumi", append([]string{"preview", "--non-interactive", "--color=never"}, flags...)...)
}

func (s stack) refresh(t *testing.T) string {
	t.Helper()
	return s.run(t, 0, "pulumi", "refresh", "--yes", "--skip-preview", "--non-interactive", "--color=never")
}

func (s stack) destroy(t *testing.T) string {
	t.Helper()
	return s.run(t, 0, "pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive", "--color=never")
}

// recorded is a resource in the stack's state.
type recorded struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Inputs     map[string]any `json:"inputs"`
	Outputs    map[string]any `json:"outputs"`
	InitErrors []string       `json:"initErrors"`
}

// resource finds a resource of a type in the stack's state; nil if there is none.
func (s stack) resource(t *testing.T, of string) *recorded {
	t.Helper()
	var state struct {
		Deployment struct{ Resources []*recorded }
	}
	out, err := s.command("pulumi", "stack", "export").Output()
	if err == nil {
		err = json.Unmarshal(out, &state)
	}
	if err != nil {
		t.Fatalf("stack export: %v\n%s", err, out)
	}
	for _, r := range state.Deployment.Resources {
		if r.Type == "netlab:index:"+of {
			return r
		}
	}
	return nil
}

// kubectl runs kubectl by a lab's own kubeconfig.
func (s stack) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, 0, "netlab", append([]string{"kubectl", nameLab, "--"}, args...)...)
}

// says checks that a command printed something.
func says(t *testing.T, out string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// until waits for something, a minute at most.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
