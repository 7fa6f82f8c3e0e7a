package cli

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for name, c := range map[string]struct {
		release string
		info    debug.BuildInfo
		want    string
	}{
		"a release":               {"v0.2.0", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs}, "v0.2.0"},
		"go install":              {"", debug.BuildInfo{Main: debug.Module{Version: "v0.1.1"}}, "v0.1.1"},
		"a checkout with changes": {"", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs}, "devel-0123456789ab-dirty"},
		"a checkout":              {"", debug.BuildInfo{Settings: vcs[:1]}, "devel-0123456789ab"},
		"nothing known":           {"", debug.BuildInfo{}, "(devel)"},
	} {
		if got := versionOf(c.release, &c.info); got.Version != c.want {
			t.Errorf("%s: %s, want %s", name, got.Version, c.want)
		}
	}
}
