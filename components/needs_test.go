package components

import (
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/topology"
)

func TestNeedsFollowTheModes(t *testing.T) {
	c := load(t)
	tests := map[string]struct {
		change    func(*topology.Plan)
		has, lack string
	}{
		"VXLAN by default": {func(*topology.Plan) {}, "CONFIG_VXLAN", "CONFIG_IP_VS"},
		"no tunnel":        {func(p *topology.Plan) { p.CNI.Options["backend"] = "host-gw" }, "CONFIG_NF_TABLES", "CONFIG_VXLAN"},
		"ipvs":             {func(p *topology.Plan) { p.Kubernetes.Proxy = "ipvs" }, "CONFIG_IP_VS", "CONFIG_NF_TABLES"},
		"its tracking":     {func(p *topology.Plan) { p.Kubernetes.Proxy = "ipvs" }, "CONFIG_IP_VS_NFCT", "CONFIG_NF_TABLES"},
		"its sets":         {func(p *topology.Plan) { p.Kubernetes.Proxy = "ipvs" }, "CONFIG_NETFILTER_XT_SET", "CONFIG_NF_TABLES"},
		"its device":       {func(p *topology.Plan) { p.Kubernetes.Proxy = "ipvs" }, "CONFIG_DUMMY", "CONFIG_NFT_NUMGEN"},
		"iptables":         {func(p *topology.Plan) { p.Kubernetes.Proxy = "iptables" }, "CONFIG_NETFILTER_XT_MATCH_STATISTIC", "CONFIG_DUMMY"},
		"no proxy": {func(p *topology.Plan) {
			p.Kubernetes.Proxy = "none"
			cni(p, "cilium", "kubeProxyReplacement", "true")
		}, "CONFIG_BPF_SYSCALL", "CONFIG_NF_TABLES"},
		"a mode that is off": {func(p *topology.Plan) { cni(p, "cilium", "l7Proxy", "false") }, "CONFIG_BPF_SYSCALL", "CONFIG_NETFILTER_XT_TARGET_TPROXY"},
		"legacy iptables":    {func(p *topology.Plan) { cni(p, "calico", "iptables", "legacy") }, "CONFIG_IP_NF_FILTER", "CONFIG_NFT_COMPAT"},
		"a CNI without when": {func(p *topology.Plan) { cni(p, "cilium", "routing", "native") }, "CONFIG_BPF_SYSCALL", "CONFIG_VXLAN"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := quickstart(c)
			test.change(&p)
			var options []string
			for _, n := range resolve(t, c, p).Needs() {
				options = append(options, n.Option)
			}
			if !slices.Contains(options, test.has) || slices.Contains(options, test.lack) {
				t.Errorf("needs %v; want %s and no %s", options, test.has, test.lack)
			}
		})
	}
	every := c.EveryNeed()
	ipvs := every[slices.IndexFunc(every, func(n Need) bool { return n.Option == "CONFIG_IP_VS" })]
	if got := ipvs.Error(); got != "the kernel has no CONFIG_IP_VS, which kubernetes with proxy ipvs needs" {
		t.Errorf("it is reported as %q", got)
	}
	if hint := ipvs.Hint(); !strings.Contains(hint, "modprobe ip_vs") || !strings.Contains(hint, "choose another proxy") {
		t.Errorf("its hint is %q", hint)
	}
}

func cni(p *topology.Plan, name string, options ...string) {
	p.CNI.Name, p.CNI.Options = name, map[string]string{}
	for i := 0; i < len(options); i += 2 {
		p.CNI.Options[options[i]] = options[i+1]
	}
}

func TestServicesHaveOneToAnswer(t *testing.T) {
	c := load(t)
	tests := map[string]struct {
		proxy, replaces, want string
	}{
		"kube-proxy alone": {"nftables", "false", ""},
		"Cilium alone":     {"none", "true", ""},
		"nobody":           {"none", "false", "nothing would implement Services"},
		"both":             {"iptables", "true", "both kube-proxy (iptables) and cilium"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := quickstart(c)
			p.Kubernetes.Proxy = test.proxy
			cni(&p, "cilium", "kubeProxyReplacement", test.replaces)
			_, err := c.Resolve(p)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestNotices(t *testing.T) {
	k := Component{Name: "k", Version: "v1", Notice: "retired", Tested: &Tested{Kubernetes: []string{"v1.36"}, Source: "its README"}}
	var p topology.Plan
	p.Kubernetes.Version = "v1.37.2"
	if got := k.notices(p); len(got) != 2 || got[1] != "k v1 was tested upstream with Kubernetes v1.36, not with v1.37 (its README)" {
		t.Errorf("notices are %q", got)
	}
	k.Options, k.Warns = map[string][]string{"mode": {"a", "b"}}, []Warning{
		{When: map[string]string{"mode": "a", "proxy": "ipvs"}, Says: "it may break", Source: "issue 1"}}
	if got := k.notices(p); len(got) != 2 {
		t.Errorf("without the mode that is warned of: %q", got)
	}
	p.Kubernetes.Proxy = "ipvs"
	if got := k.notices(p); len(got) != 3 || got[1] != "it may break (issue 1)" {
		t.Errorf("with the mode that is warned of: %q", got)
	}
	p.Kubernetes.Version = "v1.36.9"
	k.Warns = nil
	if got := k.notices(p); len(got) != 1 {
		t.Errorf("with what it was tested with: %q", got)
	}
}
