package residue

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func links() (map[string]string, error) {
	list, err := netlink.LinkList()
	out := map[string]string{}
	for _, l := range list {
		a := l.Attrs()
		up := "down"
		if a.Flags&net.FlagUp != 0 {
			up = "up"
		}
		out[a.Name] = fmt.Sprintf("%s %s mtu %d %s master %d", l.Type(), a.HardwareAddr, a.MTU, up, a.MasterIndex)
	}
	return out, err
}

func addresses() (map[string]string, error) {
	out := map[string]string{}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range list {
		out[fmt.Sprintf("%s on link %d", a.IPNet, a.LinkIndex)] = ""
	}
	return out, err
}

// routes reads all tables, without the cached clones and the entries for IPv6 multicast
// and local addresses, which come with a link's state.
func routes() (map[string]string, error) {
	out := map[string]string{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return out, err
		}
		for _, r := range list {
			if r.Flags&unix.RTM_F_CLONED == 0 && (family == unix.AF_INET || r.Table != unix.RT_TABLE_LOCAL) {
				out[fmt.Sprintf("%v via %v on link %d table %d metric %d", r.Dst, r.Gw, r.LinkIndex, r.Table, r.Priority)] = ""
			}
		}
	}
	return out, nil
}

func rules() (map[string]string, error) {
	out := map[string]string{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RuleList(family)
		if err != nil {
			return out, err
		}
		for _, r := range list {
			out[fmt.Sprintf("family %d: %s", family, r)] = ""
		}
	}
	return out, nil
}

var nftCounter = regexp.MustCompile(`packets \d+ bytes \d+`)

// nftRules names each line with the table and chain that it stands in.
func nftRules() (map[string]string, error) {
	text, err := output("nft", "list", "ruleset")
	out := map[string]string{}
	var path []string
	for line := range strings.Lines(nftCounter.ReplaceAllString(text, "packets _ bytes _")) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "}":
			path = path[:max(0, len(path)-1)]
		case strings.HasSuffix(line, "{"):
			path = append(path, strings.TrimSuffix(line, " {"))
			out[strings.Join(path, " ")] = ""
		default:
			out[strings.Join(append(path[:len(path):len(path)], line), " ")] = ""
		}
	}
	return out, err
}

// iptablesRules leaves out counters, comments, and built-in chains that accept: a
// listing alone may bring an empty table into being.
func iptablesRules() (map[string]string, error) {
	out := map[string]string{}
	for _, tool := range []string{"iptables-legacy-save", "ip6tables-legacy-save", "iptables-nft-save", "ip6tables-nft-save"} {
		text, err := output(tool)
		if err != nil {
			return out, err
		}
		table := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "*"):
				table = line[1:]
			case strings.HasPrefix(line, ":"):
				chain, _, _ := strings.Cut(line[1:], " [")
				if !strings.HasSuffix(chain, " ACCEPT") {
					out[tool+" "+table+" chain "+chain] = ""
				}
			case strings.HasPrefix(line, "-"):
				out[tool+" "+table+" "+line] = ""
			}
		}
	}
	return out, nil
}

// output returns nothing for a tool that is not installed.
func output(name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", nil
	}
	cmd := exec.Command(path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
