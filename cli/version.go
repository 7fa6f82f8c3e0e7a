package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version describes this build, as the Go linker recorded it.
type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a checkout with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// release is the version that the linker was given, by
// -ldflags "-X netlab.dev/netlab/cli.release=v0.2.0"; "" if it was given none.
var release string

func buildVersion() version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionOf(release, info)
}

// versionOf returns the version of a release; for a build by `go install` the module's
// version, and for any other build its commit, if the Go linker recorded it.
func versionOf(release string, info *debug.BuildInfo) version {
	const devel = "(devel)" // what Go writes for a module built in its checkout
	v := version{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	switch {
	case v.Version != "":
	case info.Main.Version != "" && info.Main.Version != devel:
		v.Version = info.Main.Version
	case v.Commit != "":
		v.Version = "devel-" + v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			v.Version += "-dirty"
		}
	default:
		v.Version = devel
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print netlab's version"}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v := buildVersion()
		if *output == formatJSON {
			return printJSON(a.stdout, v)
		}
		_, err := fmt.Fprintf(a.stdout, "netlab %s, %s, %s\n", v.Version, v.Go, v.Platform)
		return err
	}
	return cmd
}
