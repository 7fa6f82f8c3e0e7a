package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// lean is a provider on a kernel that lacks some features.
type lean struct {
	providers.Provider
	lacks []string
}

func (l lean) Check(context.Context, topology.Plan) error { return nil }
func (l lean) KernelHas(option, _ string) bool            { return !slices.Contains(l.lacks, option) }

// A mode that the kernel lacks is listed by doctor, refuses no other lab, and is refused by
// up before anything is made.
func TestModesThatTheKernelLacks(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NETLAB_CACHE_DIR", filepath.Join(dir, "cache"))
	t.Setenv("NETLAB_STATE_DIR", filepath.Join(dir, "state"))
	modes := map[string]struct{ option, lab, hint string }{
		"kubernetes with proxy ipvs":      {"CONFIG_IP_VS", "kubernetes: {proxy: ipvs}", "modprobe ip_vs, or run a kernel with CONFIG_IP_VS, or choose another proxy"},
		"kubernetes with proxy iptables":  {"CONFIG_NETFILTER_XT_MATCH_STATISTIC", "kubernetes: {proxy: iptables}", "choose another proxy"},
		"flannel with backend vxlan":      {"CONFIG_VXLAN", "cni: {name: flannel}", "choose another backend"},
		"calico with iptables legacy":     {"CONFIG_IP_NF_FILTER", "kubernetes: {proxy: iptables}\ncni: {name: calico, options: {iptables: legacy}}", "choose another iptables"},
		"cilium":                          {"CONFIG_BPF_SYSCALL", "cni: {name: cilium}", "run a kernel with CONFIG_BPF_SYSCALL"},
		"cilium with l7Proxy true":        {"CONFIG_NETFILTER_XT_TARGET_TPROXY", "", "or choose another l7Proxy"},
		"kubernetes with proxy nftables":  {"CONFIG_NFT_NUMGEN", "kubernetes: {proxy: nftables}", "choose another proxy"},
		"calico with encapsulation vxlan": {"CONFIG_VXLAN", "cni: {name: calico}", "choose another encapsulation"},
		"cilium with routing tunnel":      {"CONFIG_VXLAN", "cni: {name: cilium}", "choose another routing"},
		"networks[].impair.delay":         {"CONFIG_NET_SCH_NETEM", "networks: [{name: lan, cidr: 172.30.0.0/24, impair: {delay: 1ms}}]", "modprobe sch_netem, or run a kernel with CONFIG_NET_SCH_NETEM"},
		"networks[].impair.rate":          {"CONFIG_NET_SCH_TBF", "networks: [{name: lan, cidr: 172.30.0.0/24, impair: {rate: 1Mbit}}]", "modprobe sch_tbf, or run a kernel with CONFIG_NET_SCH_TBF"},
		"networks[].impair":               {"CONFIG_IFB", "networks: [{name: lan, cidr: 172.30.0.0/24, impair: {rate: 1Mbit}}]", "modprobe ifb, or run a kernel with CONFIG_IFB"},
	}
	for mode, m := range modes {
		t.Run(mode, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			a, err := newApp(nil, &stdout, &stderr)
			if err != nil {
				t.Fatal(err)
			}
			a.engine.Providers = []engine.Provider{{Name: "netns", Provider: lean{lacks: []string{m.option}}}}
			root := a.rootCommand()
			root.SetArgs([]string{"doctor"})
			if err := root.ExecuteContext(t.Context()); err != nil && !errors.As(err, new(exitStatus)) {
				t.Fatal(err)
			}
			line := "the kernel has no " + m.option + ", which " + mode + " needs"
			rest := strings.SplitAfter(stdout.String(), line)
			if len(rest) != 2 || !strings.Contains(strings.SplitN(rest[1], "\n", 3)[1], m.hint) {
				t.Errorf("doctor says\n%s\nwithout %q and %q", stdout.String(), line, m.hint)
			}
			if m.lab == "" {
				return
			}
			file := filepath.Join(dir, "lab.yaml")
			if err := os.WriteFile(file, []byte("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: lean}\n"+m.lab+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := a.up(t.Context(), file, upFlags{noVerify: new(bool), remake: new(bool), bundle: new(string)}); err == nil || !strings.Contains(err.Error(), line) || !strings.Contains(err.Error(), file) {
				t.Errorf("up says %v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("up left %v", left)
			}
		})
	}
}
