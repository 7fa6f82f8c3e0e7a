package artifacts

import (
	"crypto/x509"
	"go/version"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// goVersion is the one that the go.mod of every build requires.
const goVersion = "1.26.0"

// goFetches is the first Go that fetches the version that a module requires, unless GOTOOLCHAIN
// forbids it.
const goFetches = "1.21"

// noGo is a machine without a Go that can build components.
type noGo struct{ found string } // its version; "" for none

func (n noGo) Error() string {
	if n.found == "" {
		return "go not found: it builds the components from their Go modules"
	}
	return n.found + " is too old: the components are built from their Go modules with go" + goVersion + " or newer"
}

func (noGo) Hint() string {
	return "install Go from https://go.dev/dl, or golang-go of Debian 13 or of bookworm-backports, which fetches this version; a bundle requires no Go"
}

// lacksGo returns what is wrong with the Go on the PATH; nil if components can be built with it.
func lacksGo() error {
	if _, err := exec.LookPath("go"); err != nil {
		return noGo{}
	}
	cmd := exec.Command("go", "env", "GOVERSION", "GOTOOLCHAIN")
	cmd.Dir = os.TempDir() // in a module it would be that module's version
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return judgeGo(string(out))
}

// judgeGo is lacksGo for what `go env GOVERSION GOTOOLCHAIN` prints. A version of Go's developers is
// taken to be new.
func judgeGo(env string) error {
	first, chosen, _ := strings.Cut(env, "\n")
	found, _, _ := strings.Cut(first, " ") // experiments follow
	switch {
	case !version.IsValid(found) || version.Compare(found, "go"+goVersion) >= 0:
		return nil
	case version.Compare(found, "go"+goFetches) >= 0 && strings.TrimSpace(chosen) != "local":
		return nil
	}
	return noGo{found}
}

// noCertificates is a machine that trusts no server.
type noCertificates struct{}

func (noCertificates) Error() string { return "no CA certificates found: downloads are over TLS" }
func (noCertificates) Hint() string  { return "apt-get install ca-certificates" }

// certificates adds that this machine has none, if something has to be downloaded. With a
// registries.yaml, whose mirrors may have a CA of their own or no TLS, the download itself finds out.
func (l *lookout) certificates() {
	if len(l.Registries.Registries) > 0 {
		return
	}
	out, err := l.Outlook(l.set)
	if err != nil || !slices.ContainsFunc(out.Artifacts, func(a Artifact) bool { return a.From == "" }) {
		return
	}
	if pool, err := x509.SystemCertPool(); err != nil || pool.Equal(x509.NewCertPool()) {
		l.add(noCertificates{})
	}
}
