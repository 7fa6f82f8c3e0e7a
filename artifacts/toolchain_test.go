package artifacts

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/internal/hint"
)

// A Go that fetches the version of the builds is good enough, unless it may not.
func TestJudgeGo(t *testing.T) {
	for env, want := range map[string]string{
		"go1.26.0\nlocal\n":                 "",
		"go1.27rc1\nauto\n":                 "",
		"go1.26.8 X:greenteagc\nlocal\n":    "",
		"devel go1.27-1234abc Mon\nlocal\n": "",
		"go1.24.4\nauto\n":                  "",
		"go1.23.1\ngo1.23.1+auto\n":         "",
		"go1.24.4\nlocal\n":                 "go1.24.4 is too old",
		"go1.19.8\n\n":                      "go1.19.8 is too old",
	} {
		err := judgeGo(env)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("%q: %v, want %q", env, err, want)
		}
	}
}

// Missing CA certificates are reported only if something has to be downloaded. The test runs in another
// process: certificates are read once.
func TestNoCertificates(t *testing.T) {
	if os.Getenv("SSL_CERT_FILE") != "/nowhere" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoCertificates$")
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	c := Cache{Self: os.Args[0]}
	lacks := func(sources ...Source) bool {
		c.Dir, c.Sources = t.TempDir(), sources
		for _, err := range c.Missing(quickstart(t)) {
			if strings.Join(hint.Of(err), "") == "apt-get install ca-certificates" {
				return true
			}
		}
		return false
	}
	if !lacks(AllSources()...) || !lacks(Registry) || lacks() {
		t.Errorf("without certificates it says so: %t, with a registry alone: %t, offline: %t", lacks(AllSources()...), lacks(Registry), lacks())
	}
	if c.Registries.Registries = map[string]registry.Host{"quay.io": {CA: "own.pem"}}; lacks(Registry) {
		t.Error("with a CA in registries.yaml it says so")
	}
}
