// Command flannel is the CNI plugin of the flannel Pod network. It reads the lease
// that flanneld wrote for the Node, makes a configuration of the bridge and
// host-local plugins from it, and has those do the work. What it gave them at ADD is
// kept, so that DEL and CHECK say the same after the lease has changed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// config is the plugin's part of a conflist.
type config struct {
	types.NetConf
	SubnetFile    string         `json:"subnetFile"`
	DataDir       string         `json:"dataDir"`
	Delegate      map[string]any `json:"delegate"`
	RuntimeConfig map[string]any `json:"runtimeConfig,omitempty"`
}

// lease is what flanneld writes to the subnet file.
type lease struct {
	network string       // the whole Pod CIDR
	subnet  netip.Prefix // this Node's part
	mtu     int
	ipMasq  bool // flanneld masquerades by itself
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: check, Del: del}, version.All, "flannel")
}

func parse(stdin []byte) (config, error) {
	c := config{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(stdin, &c); err != nil {
		return c, fmt.Errorf("parse network configuration: %w", err)
	}
	return c, nil
}

// leaseLimit is how long a Pod waits for flanneld's first lease. Failing at once would
// cost it more: kubelet comes back ten seconds later.
const leaseLimit = 8 * time.Second

func readLease(path string) (lease, error) {
	text, err := os.ReadFile(path)
	for end := time.Now().Add(leaseLimit); errors.Is(err, fs.ErrNotExist) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return lease{}, fmt.Errorf("flanneld has written no lease yet: %w", err)
	}
	values := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[k] = v
		}
	}
	l := lease{network: values["FLANNEL_NETWORK"], ipMasq: values["FLANNEL_IPMASQ"] == "true"}
	if l.network == "" {
		return lease{}, fmt.Errorf("%s names no FLANNEL_NETWORK", path)
	}
	// flanneld writes the bridge's address; host-local refuses host bits.
	subnet, err := netip.ParsePrefix(values["FLANNEL_SUBNET"])
	if err != nil {
		return lease{}, fmt.Errorf("FLANNEL_SUBNET of %s: %w", path, err)
	}
	l.subnet = subnet.Masked()
	if l.mtu, err = strconv.Atoi(values["FLANNEL_MTU"]); err != nil {
		return lease{}, fmt.Errorf("FLANNEL_MTU of %s: %w", path, err)
	}
	return l, nil
}

// delegate computes what the next plugin is given: the conflist's own words first,
// the lease where they are silent.
func delegate(c config, l lease) ([]byte, error) {
	d := map[string]any{"type": "bridge", "mtu": l.mtu, "ipMasq": !l.ipMasq}
	maps.Copy(d, c.Delegate)
	if d["type"] == "bridge" {
		if _, told := d["isGateway"]; !told {
			d["isGateway"] = true
		}
	}
	d["name"], d["cniVersion"] = c.Name, c.CNIVersion
	if len(c.RuntimeConfig) > 0 {
		d["runtimeConfig"] = c.RuntimeConfig
	}
	d["ipam"] = map[string]any{
		"type":   "host-local",
		"ranges": [][]map[string]string{{{"subnet": l.subnet.String()}}},
		"routes": []map[string]string{{"dst": l.network}},
	}
	return json.Marshal(d)
}

func add(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	l, err := readLease(c.SubnetFile)
	if err != nil {
		return err
	}
	conf, err := delegate(c, l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(kept(c, args), conf, 0o600); err != nil {
		return err
	}
	plugin, err := typeOf(conf)
	if err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.Background(), plugin, conf, nil)
	if err != nil {
		return err
	}
	return result.Print()
}

func check(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	conf, err := os.ReadFile(kept(c, args))
	if err != nil {
		return fmt.Errorf("what ADD was told: %w", err)
	}
	// The result of ADD comes with the request, and goes on to the delegate.
	var all map[string]any
	if err := json.Unmarshal(conf, &all); err != nil {
		return err
	}
	var request map[string]any
	if err := json.Unmarshal(args.StdinData, &request); err != nil {
		return err
	}
	if previous, ok := request["prevResult"]; ok {
		all["prevResult"] = previous
	}
	if conf, err = json.Marshal(all); err != nil {
		return err
	}
	plugin, err := typeOf(conf)
	if err != nil {
		return err
	}
	return invoke.DelegateCheck(context.Background(), plugin, conf, nil)
}

// del succeeds where nothing is kept: the runtime may ask any number of times.
func del(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	conf, err := os.ReadFile(kept(c, args))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	plugin, err := typeOf(conf)
	if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.Background(), plugin, conf, nil); err != nil {
		return err
	}
	return os.Remove(kept(c, args))
}

// kept is where the delegate's configuration lies between ADD and DEL.
func kept(c config, args *skel.CmdArgs) string {
	return filepath.Join(c.DataDir, args.ContainerID+"-"+args.IfName)
}

func typeOf(conf []byte) (string, error) {
	var d struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(conf, &d); err != nil {
		return "", err
	}
	if d.Type == "" {
		return "", errors.New("the delegate has no type")
	}
	return d.Type, nil
}
