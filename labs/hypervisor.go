package labs

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/hint"
)

// Hypervisor is a libvirt on another machine, reached by SSH: libvirt's URI of the form
// qemu+ssh://[user@]host[:port]/system?socket=PATH&keyfile=PATH&known_hosts=PATH
// (https://libvirt.org/uri.html), of whose parameters these three are taken.
type Hypervisor struct {
	User       string // "" for root
	Host       string // a name or an IPv4 address
	Port       int    // 0 for 22
	Socket     string // of libvirt, over there; "" for where its daemons listen
	KeyFile    string // a private key, here; "" for the agent's and those in ~/.ssh
	KnownHosts string // "" for ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
}

const sshScheme = "qemu+ssh"

// hostName is a DNS name of one label or more (RFC 1123), or an IPv4 address.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*$`)

// loginName is what Debian takes for a user's.
var loginName = regexp.MustCompile(`^[a-z_][-a-z0-9_.]*\$?$`)

// ParseHypervisor reads a URI, or a host name alone, which is short for
// qemu+ssh://NAME/system. An error has a Hint.
func ParseHypervisor(text string) (Hypervisor, error) {
	const form = "write qemu+ssh://host/system, or the host's name alone"
	fail := func(todo, format string, args ...any) (Hypervisor, error) {
		return Hypervisor{}, hint.With(fmt.Errorf(format, args...), todo)
	}
	if hostName.MatchString(text) {
		if err := properHost(text); err != nil {
			return fail(form, "%w", err)
		}
		return Hypervisor{Host: text}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Fragment != "":
		return fail(form, "%q is no hypervisor on another machine", text)
	case u.Scheme == "qemu":
		return fail("leave it out for the hypervisor of this machine; for another's "+form, "%q is on this machine", text)
	case u.Scheme != sshScheme:
		todo := form
		if nearest(u.Scheme, []string{sshScheme}) != "" {
			todo = "did you mean " + sshScheme + "?"
		}
		return fail(todo, "%q is no hypervisor that is reached by SSH", text)
	case u.Path != "/system":
		return fail("write "+sshScheme+"://"+u.Host+"/system", "%q: netlab uses the hypervisor of the system, and this path is %q", text, u.Path)
	}
	h := Hypervisor{Host: u.Hostname()}
	if err := properHost(h.Host); err != nil {
		return fail(form, "%w", err)
	}
	if u.User != nil {
		if _, secret := u.User.Password(); secret {
			return fail("use a key: ?keyfile=PATH, an agent, or one in ~/.ssh", "a password has no place in a lab file")
		}
		if h.User = u.User.Username(); !loginName.MatchString(h.User) {
			return fail("such as root@", "%q is no name of a user", h.User)
		}
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if h.Port, err = strconv.Atoi(p); err != nil || h.Port < 1 || h.Port > 65535 {
			return fail("from 1 to 65535, or leave it out for 22", "%q is no port", p)
		}
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("such as ?keyfile=/root/.ssh/lab", "%q has no proper parameters", text)
	}
	takes := map[string]*string{"socket": &h.Socket, "keyfile": &h.KeyFile, "known_hosts": &h.KnownHosts}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value, ok := takes[name]
		if !ok {
			return fail(didYouMean(name, slices.Sorted(maps.Keys(takes))), "%q is no parameter that netlab takes", name)
		}
		if *value = parameters.Get(name); len(parameters[name]) > 1 || !path.IsAbs(*value) {
			return fail("write one absolute path", "%s is %q", name, strings.Join(parameters[name], ", "))
		}
	}
	return h, nil
}

// properHost refuses what is no name or IPv4 address: the tunnels between hypervisors are IPv4's.
func properHost(host string) error {
	_, err := netip.ParseAddr(host)
	numeric := regexp.MustCompile(`^[0-9.]+$`).MatchString(host)
	if host == "" || !hostName.MatchString(host) || numeric && err != nil {
		return fmt.Errorf("%q is no name of a host and no IPv4 address", host)
	}
	return nil
}

// String writes the URI, always in the same way.
func (h Hypervisor) String() string {
	u := url.URL{Scheme: sshScheme, Host: h.Host, Path: "/system"}
	if h.User != "" {
		u.User = url.User(h.User)
	}
	if h.Port != 0 {
		u.Host += ":" + strconv.Itoa(h.Port)
	}
	var parameters []string
	for _, p := range [][2]string{{"socket", h.Socket}, {"keyfile", h.KeyFile}, {"known_hosts", h.KnownHosts}} {
		if p[1] != "" {
			parameters = append(parameters, p[0]+"="+strings.ReplaceAll(url.QueryEscape(p[1]), "%2F", "/"))
		}
	}
	u.RawQuery = strings.Join(parameters, "&")
	return u.String()
}

// IsRemote reports whether a libvirt URI is of the form that ParseHypervisor reads.
func IsRemote(uri string) bool { return strings.HasPrefix(uri, sshScheme+":") }
