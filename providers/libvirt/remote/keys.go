package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers/libvirt/settings"
)

// knownFiles returns the known_hosts files that exist.
func knownFiles(at settings.Hypervisor) ([]string, error) {
	if at.KnownHosts != "" {
		if _, err := os.Stat(at.KnownHosts); err != nil {
			return nil, hint.With(fmt.Errorf("known_hosts: %w", err), "set an existing file, or remove known_hosts")
		}
		return []string{at.KnownHosts}, nil
	}
	files := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".ssh", "known_hosts"))
	}
	var there []string
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			there = append(there, f)
		}
	}
	return there, nil
}

// ownKeys are the private keys in ~/.ssh that ssh tries by default, without those that require
// a token.
var ownKeys = []string{"id_ed25519", "id_ecdsa", "id_rsa"}

// keysFor returns the keys to log in with: the configured one, or the agent's and those in
// ~/.ssh. They are valid until release, which closes the connection to the agent.
func keysFor(ctx context.Context, at settings.Hypervisor) (keys []ssh.Signer, release func(), err error) {
	if at.KeyFile != "" {
		key, err := readKey(at.KeyFile)
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked):
			err = hint.With(fmt.Errorf("%s has a passphrase", at.KeyFile), "`ssh-add "+at.KeyFile+"`, and remove keyfile")
		case err != nil:
			err = hint.With(fmt.Errorf("keyfile: %w", err), "set it to a private key in OpenSSH's format")
		}
		return []ssh.Signer{key}, func() {}, err
	}
	release = func() {}
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", socket); err == nil {
			release = func() { conn.Close() }
			if held, err := agent.NewClient(conn).Signers(); err == nil {
				keys = held
			}
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return keys, release, nil
	}
	for _, name := range ownKeys {
		key, err := readKey(filepath.Join(home, ".ssh", name))
		var locked *ssh.PassphraseMissingError
		if err == nil {
			keys = append(keys, key)
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &locked) { // one with a passphrase is left to the agent
			release()
			return nil, nil, err
		}
	}
	if len(keys) == 0 {
		release()
		return nil, nil, hint.With(errors.New("no SSH key available: none in the agent, and none without a passphrase in ~/.ssh"),
			"create one with `ssh-keygen -t ed25519`, or set one: ?keyfile=PATH")
	}
	return keys, release, nil
}

func readKey(path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
