package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Limits bound how long registries are waited for.
type Limits struct {
	Reach    time.Duration // until a host answers at all
	Manifest time.Duration // until it has answered about an image
	Patience time.Duration // the longest wait that a registry may ask for (Retry-After)
	Pause    time.Duration // before the first retry; each further one takes twice as long
	Retries  int           // of a blob, at one place
	Window   time.Duration // in which a blob has to receive
	Slowest  int64         // bytes a second, on average
	Parallel int           // blobs at once
}

// DefaultLimits are those of netlab's commands. Slower than 4 kB/s an image takes hours.
func DefaultLimits() Limits {
	return Limits{Reach: 3 * time.Second, Manifest: 30 * time.Second, Patience: 30 * time.Second,
		Pause: 500 * time.Millisecond, Retries: 3, Window: 30 * time.Second, Slowest: 4 << 10, Parallel: 6}
}

// Client asks registries. A host that cannot be reached is asked once in the Client's life.
type Client struct {
	config Config
	limits Limits
	blobs  chan struct{} // as many as there are downloads of blobs

	mu    sync.Mutex
	hosts map[string]*host
}

// host is a registry's host that was asked.
type host struct {
	once sync.Once
	down error // why it cannot be reached
	base http.RoundTripper
}

// New returns a Client.
func New(config Config, limits Limits) *Client {
	return &Client{config: config, limits: limits, blobs: make(chan struct{}, limits.Parallel), hosts: map[string]*host{}}
}

// Unavailable is why an image is not available.
type Unavailable struct {
	Ref  string
	Host string // of the image's name, as people write it
	Down bool   // it has nothing to do with this image: none of the host can be had
	Err  error
}

// Error is one line, whatever page a proxy answers with.
func (u Unavailable) Error() string {
	if u.Down {
		return fmt.Sprintf("registry %s cannot be reached: %s", u.Host, oneLine(u.Err))
	}
	return fmt.Sprintf("%s is not available from %s: %s", u.Ref, u.Host, oneLine(u.Err))
}
func (u Unavailable) Unwrap() error { return u.Err }

// Hint depends on what the registry said.
func (u Unavailable) Hint() string {
	var answer *transport.Error
	switch {
	case errors.As(u.Err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return "log in with `docker login " + u.Host + "`: netlab uses the credentials of Docker's configuration"
	case errors.As(u.Err, &answer) && answer.StatusCode == http.StatusTooManyRequests:
		return "wait, log in with `docker login " + u.Host + "`, or name a mirror in registries.yaml"
	}
	return "let this machine reach " + u.Host + " (proxies of the environment are used), or name a mirror in registries.yaml"
}

func oneLine(err error) string {
	why := strings.Join(strings.Fields(err.Error()), " ")
	if runes := []rune(why); len(runes) > 300 {
		why = string(runes[:300]) + "…"
	}
	return why
}

// downError is that of a host that cannot be reached.
type downError struct{ error }

func (d downError) Unwrap() error { return d.error }

// place is a repository at one host, with what requests to it are sent by.
type place struct {
	name.Repository
	http.RoundTripper
}

// place logs in to a repository. The first one of a host finds out whether it can be reached.
func (c *Client) place(ctx context.Context, at name.Repository) (place, error) {
	h, err := c.reach(ctx, at.Registry)
	if err != nil {
		return place{}, err
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, at)
	if err != nil {
		return place{}, fmt.Errorf("credentials for %s: %w", shown(at.Registry), err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, c.limits.Manifest, fmt.Errorf("timed out after %s waiting for a login", c.limits.Manifest))
	defer cancel()
	trip, err := transport.NewWithContext(limited, at.Registry, auth, h.base, []string{at.Scope(transport.PullScope)})
	return place{at, trip}, caused(limited, err)
}

// reach asks a host for anything, once.
func (c *Client) reach(ctx context.Context, r name.Registry) (*host, error) {
	c.mu.Lock()
	h := c.hosts[r.RegistryStr()]
	if h == nil {
		h = &host{}
		c.hosts[r.RegistryStr()] = h
	}
	c.mu.Unlock()
	h.once.Do(func() {
		if h.base, h.down = c.base(r); h.down != nil {
			return
		}
		limited, cancel := context.WithTimeoutCause(ctx, c.limits.Reach, fmt.Errorf("timed out after %s waiting for an answer", c.limits.Reach))
		defer cancel()
		_, err := transport.Ping(limited, r, h.base)
		var answered *transport.Error
		if err != nil && !errors.As(err, &answered) { // whatever it answered, it is there
			h.down = caused(limited, err)
		}
	})
	if h.down != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, downError{plain(h.down)}
	}
	return h, nil
}

// plain leaves the URL out of an error: the host is named already.
func plain(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// base is what all requests to a host are sent by.
func (c *Client) base(r name.Registry) (http.RoundTripper, error) {
	pool, err := certificates(c.config.Registries[r.RegistryStr()].CA)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() // with the proxies of the environment
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	t.DialContext = (&net.Dialer{Timeout: c.limits.Reach, KeepAlive: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = c.limits.Window
	t.MaxIdleConnsPerHost = c.limits.Parallel
	return transport.NewUserAgent(patient{t, c.limits}, "netlab ("+runtime.Version()+")"), nil
}

// patient sends requests: none without TLS to another machine, and again where a registry asks
// to come back soon.
type patient struct {
	inner  http.RoundTripper
	limits Limits
}

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !onLoopback(r.URL.Host) {
		return nil, fmt.Errorf("%s would be asked without TLS, which is allowed only for a registry on loopback", r.URL.Host)
	}
	for n := 0; ; n++ {
		answer, err := p.inner.RoundTrip(r)
		if err != nil || r.Body != nil || n == p.limits.Retries {
			return answer, err
		}
		wait, asked := retryAfter(answer)
		if !asked || wait > p.limits.Patience {
			return answer, nil
		}
		answer.Body.Close()
		select {
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		case <-time.After(wait):
		}
	}
}

// retryAfter is how long a registry that is too busy asks to wait (RFC 9110, 10.2.3).
func retryAfter(answer *http.Response) (time.Duration, bool) {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	text := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

// caused replaces an error that came from the end of ctx by ctx's cause.
func caused(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
