// Package registry pulls images from container registries: by digest, through mirrors and
// proxies, with Docker's credentials, and so that a pull which was interrupted goes on where it
// ended. It takes references and writes OCI layouts. It knows neither components nor the cache,
// and decides nothing about what is done without an image.
package registry

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/internal/hint"
)

// Config is the content of registries.yaml: what is to be known about hosts of registries.
type Config struct {
	// Registries are the settings of hosts, as they are written in the names of images: quay.io,
	// registry.lan:5000.
	Registries map[string]Host `json:"registries"`
}

// Host are the settings of one host.
type Host struct {
	// Mirrors are asked before the host itself, in this order: HOST[:PORT][/PREFIX]. Settings of
	// a mirror are those of its own host.
	Mirrors []string `json:"mirrors"`
	CA      string   `json:"ca"` // a file with certificates, besides those of the system
}

// Load reads a registries.yaml; one that does not exist has no settings.
func Load(path string) (Config, error) {
	var c Config
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = yaml.UnmarshalStrict(text, &c)
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return c, hint.With(fmt.Errorf("registries of %s: %w", path, err), "see the section on registries in docs/using.md")
	}
	hosts := map[string]Host{}
	for host, settings := range c.Registries {
		hosts[known(host)] = settings
	}
	c.Registries = hosts
	return c, nil
}

func (c Config) check() error {
	var problems []error
	for host, settings := range c.Registries {
		if _, err := name.NewRegistry(host); err != nil || host == "" {
			problems = append(problems, fmt.Errorf("%q is not a host: write HOST or HOST:PORT, without a scheme", host))
		}
		for _, mirror := range settings.Mirrors {
			if _, err := mirrored(mirror, "x"); err != nil {
				problems = append(problems, fmt.Errorf("mirror %q of %s: write HOST[:PORT][/PREFIX], without a scheme", mirror, host))
			}
		}
		if settings.CA != "" {
			if _, err := certificates(settings.CA); err != nil {
				problems = append(problems, fmt.Errorf("ca of %s: %w", host, err))
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

// known is the name that a host of registries.yaml has in references: Docker Hub has another.
func known(host string) string {
	r, err := name.NewRegistry(host)
	if err != nil {
		return host
	}
	return r.RegistryStr()
}

// shown is how people write the host of a registry.
func shown(r name.Registry) string {
	if r.RegistryStr() == name.DefaultRegistry {
		return "docker.io"
	}
	return r.RegistryStr()
}

// mirrored is a repository at a mirror.
func mirrored(mirror, repository string) (name.Repository, error) {
	host, prefix, _ := strings.Cut(mirror, "/")
	if strings.HasSuffix(host, ":") {
		return name.Repository{}, fmt.Errorf("%q is not a host", host)
	}
	r, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return name.Repository{}, err
	}
	if prefix != "" {
		repository = strings.Trim(prefix, "/") + "/" + repository
	}
	return name.NewRepository(r.RegistryStr() + "/" + repository)
}

// places are where a repository is asked for, in order.
func (c Config) places(of name.Repository) ([]name.Repository, error) {
	var all []name.Repository
	for _, mirror := range c.Registries[of.RegistryStr()].Mirrors {
		at, err := mirrored(mirror, of.RepositoryStr())
		if err != nil {
			return nil, err
		}
		all = append(all, at)
	}
	return append(all, of), nil
}

// certificates are those of the system and of a file; nil for no file: the system's.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// onLoopback reports whether a host is this machine: the only one that is asked without TLS.
func onLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
