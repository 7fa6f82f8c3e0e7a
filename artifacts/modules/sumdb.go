package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
)

// golangKey is the public key of sum.golang.org, as Go has it (cmd/go/internal/modfetch/key.go).
const golangKey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

// check compares a module's hash with the one that it has to have, or else with the checksum
// database.
func (s Settings) check(ctx context.Context, m module.Version, sum, archive string) error {
	switch hash, err := hashOf(archive); {
	case err != nil:
		return err
	case sum == "":
		return s.lookUp(ctx, m, hash)
	case sum != hash:
		return mismatch(hash, "netlab keeps "+sum)
	}
	return nil
}

// mismatch is a module with another hash than it has to have.
func mismatch(hash, right string) error {
	return hint.With(fmt.Errorf("checksum mismatch: the proxy sent %s, %s", hash, right),
		"look at GOPROXY: what it serves is not what everybody else gets")
}

// lookUp compares a module's hash with the checksum database.
func (s Settings) lookUp(ctx context.Context, m module.Version, hash string) error {
	if s.SumDB == "off" {
		return nil
	}
	d := &database{Settings: s, ctx: ctx}
	if err := d.parse(); err != nil {
		return err
	}
	client := sumdb.NewClient(d)
	client.SetGONOSUMDB(s.NoSumDB)
	lines, err := client.Lookup(m.Path, m.Version)
	switch {
	case errors.Is(err, sumdb.ErrGONOSUMDB):
		return nil
	case d.attacked != "":
		return errors.New("checksum database " + d.name + " contradicts itself: " + d.attacked)
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("checksum database %s: %w", d.name, err)
	}
	if want := m.Path + " " + m.Version + " "; !slices.Contains(lines, want+hash) {
		for _, line := range lines {
			if theirs, ok := strings.CutPrefix(line, want); ok {
				return mismatch(hash, fmt.Sprintf("the checksum database %s has %s", d.name, theirs))
			}
		}
		return fmt.Errorf("checksum database %s has no hash of it", d.name)
	}
	return nil
}

// database is the checksum database of GOSUMDB: sumdb.ClientOps for one lookup.
type database struct {
	Settings
	ctx       context.Context
	name, key string
	direct    string // URL

	once     sync.Once
	base     string // URL that it is asked at: a module proxy's, or direct
	attacked string // why it is not to be trusted
}

// parse reads GOSUMDB: NAME, NAME+KEY, and an URL after it.
func (d *database) parse() error {
	fields := strings.Fields(d.SumDB)
	if len(fields) == 0 || len(fields) > 2 {
		return fmt.Errorf("GOSUMDB is %q", d.SumDB)
	}
	d.key = fields[0]
	switch d.key {
	case "sum.golang.google.cn":
		d.key, d.direct = golangKey, "https://sum.golang.google.cn"
	case "sum.golang.org":
		d.key = golangKey
	}
	name, _, found := strings.Cut(d.key, "+")
	if !found {
		return fmt.Errorf("GOSUMDB: the key of %s is unknown: write NAME+KEY", d.key)
	}
	d.name = name
	if d.direct == "" {
		d.direct = "https://" + name
	}
	if len(fields) == 2 {
		d.direct = fields[1]
	}
	d.direct = strings.TrimSuffix(d.direct, "/")
	return nil
}

// largestAnswer of a checksum database: a tile has 8 kB.
const largestAnswer = 1 << 20

func (d *database) fetch(at string) (data []byte, err error) {
	err = d.get(d.ctx, at, largestAnswer, func(in io.Reader, _ int64) (err error) {
		data, err = io.ReadAll(in)
		return err
	})
	return data, err
}

// where finds whether a module proxy stands in for the database.
func (d *database) where() string {
	d.once.Do(func() {
		d.base = d.direct
		proxies, _ := d.proxies()
		for _, p := range proxies {
			if _, err := d.fetch(p.url + "/sumdb/" + d.name + "/supported"); err == nil {
				d.base = p.url + "/sumdb/" + d.name
				return
			}
		}
	})
	return d.base
}

// ReadRemote implements sumdb.ClientOps.
func (d *database) ReadRemote(path string) ([]byte, error) { return d.fetch(d.where() + path) }

// ReadConfig implements sumdb.ClientOps.
func (d *database) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(d.key), nil
	}
	data, err := os.ReadFile(d.file(file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// WriteConfig implements sumdb.ClientOps: the latest tree, so that the database cannot later
// pretend to another history.
func (d *database) WriteConfig(file string, old, new []byte) error {
	if was, err := d.ReadConfig(file); err != nil || !bytes.Equal(was, old) {
		return errors.Join(err, sumdb.ErrWriteConflict)
	}
	if err := os.MkdirAll(filepath.Dir(d.file(file)), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(d.file(file), new, 0o644)
}

func (d *database) file(name string) string {
	return filepath.Join(d.Known, strings.ReplaceAll(name, "/", "_"))
}

// ReadCache implements sumdb.ClientOps: a few modules are looked up, each once.
func (*database) ReadCache(string) ([]byte, error) { return nil, os.ErrNotExist }

// WriteCache implements sumdb.ClientOps.
func (*database) WriteCache(string, []byte) {}

// Log implements sumdb.ClientOps.
func (*database) Log(string) {}

// SecurityError implements sumdb.ClientOps.
func (d *database) SecurityError(text string) {
	d.attacked = strings.Join(strings.Fields(text), " ")
}
