package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"netlab.dev/netlab/providers/libvirt/settings"
)

func key(t *testing.T) (ssh.PublicKey, []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return shown, pem.EncodeToMemory(block)
}

// A machine with several host keys presents one that is known.
func TestAlgorithms(t *testing.T) {
	known, _ := key(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(knownhosts.Line([]string{"[kvm2]:2222"}, known)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string][]string{"kvm2:2222": {ssh.KeyAlgoED25519}, "kvm2:22": nil, "kvm3:2222": nil} {
		h, err := knownBy(settings.Hypervisor{KnownHosts: file}, address)
		if err != nil || !slices.Equal(h.algorithms, want) {
			t.Errorf("%s: %v (%v)", address, h.algorithms, err)
		}
	}
}

// Keys come from ~/.ssh where none is named; one with a passphrase is left to the agent.
func TestKeys(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, _, err := keysFor(t.Context(), settings.Hypervisor{}); err == nil || !strings.Contains(err.Error(), "no SSH key available") {
		t.Errorf("without keys: %v", err)
	}
	public, private := key(t)
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(other, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"id_ed25519": private, "id_ecdsa": pem.EncodeToMemory(locked)} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, release, err := keysFor(t.Context(), settings.Hypervisor{})
	if err != nil || len(keys) != 1 || string(keys[0].PublicKey().Marshal()) != string(public.Marshal()) {
		t.Fatalf("%d keys (%v)", len(keys), err)
	}
	release()
	if _, _, err := keysFor(t.Context(), settings.Hypervisor{KeyFile: filepath.Join(home, ".ssh", "id_ecdsa")}); err == nil || !strings.Contains(err.Error(), "has a passphrase") {
		t.Errorf("a locked key by name: %v", err)
	}
}
