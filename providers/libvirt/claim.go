package libvirt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology/fabric"
)

// claimFile, in a lab's directory on a remote machine, identifies the owner of the lab: a random
// token, which the lab's state has too, and the host name of its machine.
const claimFile = "owner"

// claim claims a lab's name on every machine. If one refuses, claims on machines that are not in was
// are released again, so that a refused lab leaves nothing behind.
func (hs hypervisors) claim(ctx context.Context, lab labs.Name, dir string, was place) error {
	var fresh []*hypervisor
	for _, uri := range sorted(hs) {
		err := hs[uri].claim(ctx, lab, dir)
		if err != nil {
			for _, h := range fresh {
				err = errors.Join(err, h.forget(ctx, lab))
			}
			return err
		}
		if !slices.Contains(was.Remote, uri) {
			fresh = append(fresh, hs[uri])
		}
	}
	return nil
}

// claim claims a lab's name on a remote machine. Domains, pools and namespaces are named after the
// lab: the name of a local lab of that machine, or of a third machine's lab there, is refused.
func (h *hypervisor) claim(ctx context.Context, lab labs.Name, dir string) error {
	if h.remote == nil {
		return nil
	}
	word, err := os.ReadFile(filepath.Join(dir, claimFile))
	if errors.Is(err, fs.ErrNotExist) {
		word = []byte(rand.Text())
		err = atomicfile.Write(filepath.Join(dir, claimFile), word, 0o600)
	}
	if err != nil {
		return err
	}
	there, err := labsWith(h)
	if err != nil {
		return err
	}
	runs := ""
	if slices.Contains(there, lab) {
		runs = "yes"
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	// Of two concurrent claims only one creates the file.
	const script = `[ -e "$1/$2" ] || { [ -z "$4" ] && [ ! -e "$5" ] || exit 0; mkdir -p "$1"; (set -C; echo "$3" >"$1/$2") 2>/dev/null || true; }; cat "$1/$2"`
	out, err := h.remote.Run(ctx, nil, "sh", "-c", script, "sh", remoteDir(lab), claimFile, string(word)+" "+host, runs, fabric.Path(lab, ""))
	if err != nil {
		return fmt.Errorf("find the owner of lab %s on %s: %w", lab, h.remote.At.Host, err)
	}
	is, owner, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	switch is {
	case string(word):
		return nil
	case "":
		return hint.With(fmt.Errorf("%s has its own lab %s", h.remote.At.Host, lab), "give this lab another name")
	}
	return hint.With(fmt.Errorf("%s already has Nodes of a lab %s, created by %s", h.remote.At.Host, lab, owner),
		fmt.Sprintf("give this lab another name; or, if its state was lost, remove it first with `netlab down %s` on %s", lab, owner))
}
