package cli_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"netlab.dev/netlab/cli"
)

var update = flag.Bool("update", false, "write what scripts print into their expectations")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"netlab": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// The scripts of testdata and of labs/testdata (files that Load refuses) run netlab as
// users do. Besides the usual commands there is `exits CODE COMMAND…`, and $SCENARIOS is
// the folder of ready labs.
func TestScripts(t *testing.T) {
	for name, dir := range map[string]string{"verbs": "testdata", "bad files": "../labs/testdata"} {
		t.Run(name, func(t *testing.T) { runScripts(t, dir) })
	}
}

func runScripts(t *testing.T, dir string) {
	scenarios, err := filepath.Abs("../scenarios")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "only-tools": onlyTools, "docker-says": dockerSays},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("SCENARIOS", scenarios)
			env.Setenv("NETLAB_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Setenv("NETLAB_CACHE_DIR", filepath.Join(env.WorkDir, "cache"))
			return nil
		},
	})
}

// exits runs a command and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// onlyTools sets PATH to a directory with the programs of the current PATH except docker and
// podman.
func onlyTools(ts *testscript.TestScript, neg bool, args []string) {
	tools := ts.MkAbs("tools")
	ts.Check(os.MkdirAll(tools, 0o755))
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != "docker" && e.Name() != "podman" {
				os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(tools, e.Name())) // the first on PATH stays
			}
		}
	}
	ts.Setenv("PATH", tools)
}

// dockerSays puts a docker on the PATH that prints a file and exits with a code: with an
// error code on standard error.
func dockerSays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: docker-says CODE FILE")
	}
	script := "#!/bin/sh\ncat " + ts.MkAbs(args[1]) + "\n"
	if args[0] != "0" {
		script = "#!/bin/sh\ncat " + ts.MkAbs(args[1]) + " >&2\nexit " + args[0] + "\n"
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs("tools"), "docker"), []byte(script), 0o755))
}

// Every ready lab says in a header comment what it is for, and has its plan checked by a script.
func TestScenariosAreScripted(t *testing.T) {
	labs, err := filepath.Glob("../scenarios/*.yaml")
	if err != nil || len(labs) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, lab := range labs {
		name := strings.TrimSuffix(filepath.Base(lab), ".yaml")
		script, err := os.ReadFile(filepath.Join("testdata", "plan-"+name+".txtar"))
		if err != nil || !strings.Contains(string(script), "netlab plan $SCENARIOS/"+name+".yaml") {
			t.Errorf("%s: no script plans it (%v)", lab, err)
		}
		text, err := os.ReadFile(lab)
		if err != nil {
			t.Fatal(err)
		}
		if name != "minimal" && !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s: no header comment", lab)
		}
	}
}
