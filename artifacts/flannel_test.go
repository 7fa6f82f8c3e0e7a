package artifacts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// plugin builds flannel's CNI plugin by its recipe, once.
func plugin(t *testing.T) string {
	t.Helper()
	needs(t, "go")
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, set: quickstart(t), step: quiet}
	m, err := o.output("flannel/flannel")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := o.build(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bin", "flannel")
}

// The delegate is a script that stores its input and answers as bridge does.
const fakeBridge = `#!/bin/sh
cat >"$(dirname "$0")/$CNI_COMMAND.json"
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[],"ips":[]}'
exit 0
`

func TestFlannelPlugin(t *testing.T) {
	flannel := plugin(t)
	const lease = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
	ipam := map[string]any{
		"type":   "host-local",
		"ranges": []any{[]any{map[string]any{"subnet": "10.244.2.0/24"}}},
		"routes": []any{map[string]any{"dst": "10.244.0.0/16"}},
	}
	tests := map[string]struct {
		lease, conf, failure string
		passed               map[string]any
	}{
		"as the chart configures it": {
			lease: lease,
			conf:  `"delegate":{"hairpinMode":true,"isDefaultGateway":true}`,
			passed: map[string]any{"type": "bridge", "name": "cbr0", "cniVersion": "1.0.0", "mtu": 1450., "ipMasq": false,
				"isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "ipam": ipam},
		},
		"flanneld leaves masquerading to the bridge": {
			lease: strings.Replace(lease, "IPMASQ=true", "IPMASQ=false", 1),
			conf:  `"delegate":{}`,
			passed: map[string]any{"type": "bridge", "name": "cbr0", "cniVersion": "1.0.0", "mtu": 1450., "ipMasq": true,
				"isGateway": true, "ipam": ipam},
		},
		"the conflist has the last word": {
			lease: lease,
			conf:  `"delegate":{"mtu":1300,"isGateway":false,"ipMasq":true},"runtimeConfig":{"mac":"02:00:00:00:00:01"}`,
			passed: map[string]any{"type": "bridge", "name": "cbr0", "cniVersion": "1.0.0", "mtu": 1300., "ipMasq": true,
				"isGateway": false, "ipam": ipam, "runtimeConfig": map[string]any{"mac": "02:00:00:00:00:01"}},
		},
		"no lease yet":    {failure: "flanneld has written no lease yet"},
		"a broken subnet": {lease: strings.Replace(lease, "10.244.2.1/24", "10.244.2.1", 1), failure: "FLANNEL_SUBNET"},
		"a broken MTU":    {lease: strings.Replace(lease, "1450", "", 1), failure: "FLANNEL_MTU"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "bridge"), []byte(fakeBridge), 0o755); err != nil {
				t.Fatal(err)
			}
			if test.lease != "" {
				if err := os.WriteFile(filepath.Join(dir, "subnet.env"), []byte(test.lease), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data := filepath.Join(dir, "data")
			conf := `{"cniVersion":"1.0.0","name":"cbr0","type":"flannel","subnetFile":"` + dir + `/subnet.env","dataDir":"` + data + `"`
			if test.conf != "" {
				conf += "," + test.conf
			}
			call := func(command, conf string) (string, error) {
				cmd := exec.Command(flannel)
				cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=/proc/self/ns/net", "CNI_NETNS_OVERRIDE=1", "CNI_PATH="+dir)
				cmd.Stdin = strings.NewReader(conf)
				out, err := cmd.Output()
				return string(out), err
			}
			passed := func(command string) map[string]any {
				t.Helper()
				text, err := os.ReadFile(filepath.Join(dir, command+".json"))
				if err != nil {
					t.Fatalf("the delegate was not asked to %s: %v", command, err)
				}
				var got map[string]any
				if err := json.Unmarshal(text, &got); err != nil {
					t.Fatal(err)
				}
				return got
			}

			out, err := call("ADD", conf+"}")
			if test.failure != "" {
				if err == nil || !strings.Contains(out, test.failure) {
					t.Errorf("ADD: %v\n%s", err, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("ADD: %v\n%s", err, out)
			}
			if got := passed("ADD"); !reflect.DeepEqual(got, test.passed) {
				t.Errorf("ADD passed %v\nwant %v", got, test.passed)
			}

			// CHECK and DEL say what ADD said, though the lease was removed.
			if err := os.Remove(filepath.Join(dir, "subnet.env")); err != nil {
				t.Fatal(err)
			}
			if out, err := call("CHECK", conf+`,"prevResult":{"cniVersion":"1.0.0"}}`); err != nil {
				t.Errorf("CHECK: %v\n%s", err, out)
			}
			check := passed("CHECK")
			if check["prevResult"] == nil {
				t.Error("CHECK does not pass on the result of ADD")
			}
			delete(check, "prevResult")
			if !reflect.DeepEqual(check, test.passed) {
				t.Errorf("CHECK passed %v", check)
			}
			if out, err := call("DEL", conf+"}"); err != nil {
				t.Errorf("DEL: %v\n%s", err, out)
			}
			if got := passed("DEL"); !reflect.DeepEqual(got, test.passed) {
				t.Errorf("DEL passed %v", got)
			}
			if left, _ := os.ReadDir(data); len(left) > 0 {
				t.Errorf("DEL left %v", left)
			}
			// Once more, as runtimes do.
			if out, err := call("DEL", conf+"}"); err != nil {
				t.Errorf("second DEL: %v\n%s", err, out)
			}
		})
	}
}
