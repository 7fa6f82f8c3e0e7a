package settings

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
	"netlab.dev/netlab/labs"
)

// Hypervisor is a libvirt on another machine, reached by SSH: libvirt's URI of the form
// qemu+ssh://[user@]host[:port]/system?socket=PATH&keyfile=PATH&known_hosts=PATH
// (https://libvirt.org/uri.html), with only these three of its parameters.
type Hypervisor struct {
	User       string // "" for root
	Host       string // a name or an IPv4 address
	Port       int    // 0 for 22
	Socket     string // of libvirt, on the other machine; "" for its default
	KeyFile    string // private key on this machine; "" for the SSH agent and ~/.ssh
	KnownHosts string // "" for ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
}

const sshScheme = "qemu+ssh"

// hostName is a DNS name of one or more labels (RFC 1123), or an IPv4 address.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*$`)

// loginName is what Debian accepts as a user name.
var loginName = regexp.MustCompile(`^[a-z_][-a-z0-9_.]*\$?$`)

// ParseHypervisor parses a URI or a plain host name, which is short for
// qemu+ssh://NAME/system. An error has a Hint.
func ParseHypervisor(text string) (Hypervisor, error) {
	const form = "use qemu+ssh://host/system or only the host name"
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
		return fail(form, "%q is not a remote libvirt URI", text)
	case u.Scheme == "qemu":
		return fail("remove it to use the hypervisor of this machine; for another machine "+form, "%q is not a remote URI", text)
	case u.Scheme != sshScheme:
		todo := form
		if labs.Nearest(u.Scheme, []string{sshScheme}) != "" {
			todo = "did you mean " + sshScheme + "?"
		}
		return fail(todo, "%q is not a "+sshScheme+" URI", text)
	case u.Path != "/system":
		return fail("use "+sshScheme+"://"+u.Host+"/system", "%q: the path must be /system, not %q", text, u.Path)
	}
	h := Hypervisor{Host: u.Hostname()}
	if err := properHost(h.Host); err != nil {
		return fail(form, "%w", err)
	}
	if u.User != nil {
		if _, secret := u.User.Password(); secret {
			return fail("use a key: ?keyfile=PATH, an SSH agent, or a key in ~/.ssh", "a password in a lab file is not supported")
		}
		if h.User = u.User.Username(); !loginName.MatchString(h.User) {
			return fail("for example root@", "%q is not a valid user name", h.User)
		}
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if h.Port, err = strconv.Atoi(p); err != nil || h.Port < 1 || h.Port > 65535 {
			return fail("must be between 1 and 65535; remove it to use 22", "%q is not a valid port", p)
		}
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("for example ?keyfile=/root/.ssh/lab", "%q has invalid parameters", text)
	}
	supported := map[string]*string{"socket": &h.Socket, "keyfile": &h.KeyFile, "known_hosts": &h.KnownHosts}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value, ok := supported[name]
		if !ok {
			return fail(labs.DidYouMean(name, slices.Sorted(maps.Keys(supported))), "%q is not a supported parameter", name)
		}
		if *value = parameters.Get(name); len(parameters[name]) > 1 || !path.IsAbs(*value) {
			return fail("use one absolute path", "%s is %q", name, strings.Join(parameters[name], ", "))
		}
	}
	return h, nil
}

// properHost accepts a host name or an IPv4 address: the tunnels between hypervisors use IPv4.
func properHost(host string) error {
	_, err := netip.ParseAddr(host)
	numeric := regexp.MustCompile(`^[0-9.]+$`).MatchString(host)
	if host == "" || !hostName.MatchString(host) || numeric && err != nil {
		return fmt.Errorf("%q is not a host name or IPv4 address", host)
	}
	return nil
}

// String returns the canonical URI.
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

// isRemote reports whether a libvirt URI is of the form that ParseHypervisor reads.
func isRemote(uri string) bool { return strings.HasPrefix(uri, sshScheme+":") }
