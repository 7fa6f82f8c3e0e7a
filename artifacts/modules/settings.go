// Package modules takes files out of Go modules without Go: it downloads a module's zip from a
// module proxy, compares its hash with the checksum database, and extracts what is asked for. It
// obeys GOPROXY, GOSUMDB, GONOSUMDB and GOPRIVATE as Go does. It builds nothing, and cannot ask
// version control ("direct").
package modules

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Settings are a user's settings of Go.
type Settings struct {
	Proxies   string        // GOPROXY
	SumDB     string        // GOSUMDB
	NoSumDB   string        // GONOSUMDB
	Known     string        // directory for what is known of the checksum database's tree
	UserAgent string        // of requests
	Stall     time.Duration // without a byte
}

// The defaults of Go (https://go.dev/ref/mod#environment-variables).
const (
	defaultProxies = "https://proxy.golang.org,direct"
	defaultSumDB   = "sum.golang.org"
)

// FromEnvironment reads the settings of the environment, and those that `go env -w` wrote.
func FromEnvironment(getenv func(string) string, known string) Settings {
	written := map[string]string{}
	file := getenv("GOENV")
	if dir, err := os.UserConfigDir(); file == "" && err == nil {
		file = filepath.Join(dir, "go", "env")
	}
	if text, err := os.ReadFile(file); err == nil && file != "off" {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				written[key] = value
			}
		}
	}
	get := func(otherwise string, keys ...string) string {
		for _, key := range keys {
			if value := getenv(key); value != "" {
				return value
			}
			if value := written[key]; value != "" {
				return value
			}
		}
		return otherwise
	}
	return Settings{Proxies: get(defaultProxies, "GOPROXY"), SumDB: get(defaultSumDB, "GOSUMDB"), NoSumDB: get("", "GONOSUMDB", "GOPRIVATE"),
		Known: known, UserAgent: "netlab", Stall: 30 * time.Second}
}

// proxy is an entry of GOPROXY.
type proxy struct {
	url string
	// always: the next one is asked after any error, not only where this one has no such module.
	always bool
}

// errNoProxy is why nothing can be downloaded.
var errNoProxy = errors.New("GOPROXY names no module proxy, and netlab cannot ask version control")

// proxies are those of GOPROXY that can be asked.
func (s Settings) proxies() (all []proxy, err error) {
	for rest := s.Proxies; rest != ""; {
		entry := rest
		at := strings.IndexAny(rest, ",|")
		always := false
		if at >= 0 {
			entry, always, rest = rest[:at], rest[at] == '|', rest[at+1:]
		} else {
			rest = ""
		}
		switch entry = strings.TrimSpace(entry); entry {
		case "", "direct":
		case "off":
			if len(all) == 0 {
				return nil, errors.New("GOPROXY is off")
			}
			return all, nil
		default:
			all = append(all, proxy{strings.TrimSuffix(entry, "/"), always})
		}
	}
	if len(all) == 0 {
		return nil, errNoProxy
	}
	return all, nil
}
