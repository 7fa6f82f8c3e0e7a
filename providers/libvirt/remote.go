package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// The networks of a lab on a remote machine are created by the same code as on this machine: netlab
// is copied there, as one file below remoteRoot, and executes one order at a time.

// RemoteVerb is netlab's hidden verb that executes an order from another machine.
const RemoteVerb = "elsewhere"

// order is a request to netlab on a remote machine.
type order struct {
	Do     string        `json:"do"` // create, plugged, plug, link, links, impair, impaired, diff or delete
	Lab    labs.Name     `json:"lab"`
	Plan   topology.Plan `json:"plan,omitzero"` // its part there (topology.Plan.At); none of delete
	Ends   fabric.VTEPs  `json:"ends,omitempty"`
	Node   string        `json:"node,omitempty"`   // of plugged
	NIC    topology.NIC  `json:"nic"`              // of plug, link and impair: of a virtual machine,
	Tap    string        `json:"tap,omitempty"`    // what the hypervisor calls its tap,
	Socket string        `json:"socket,omitempty"` // and the hypervisor's socket
	Up     bool          `json:"up,omitempty"`     // of link
	Off    []string      `json:"off,omitempty"`    // of diff: machines

	Impair labs.Impairment `json:"impair,omitzero"` // of impair
}

// answer is the result of an order.
type answer struct {
	Lines   []string `json:"lines,omitempty"` // of diff
	Plugged bool     `json:"plugged,omitempty"`
	Error   string   `json:"error,omitempty"`

	Down     map[string][]string `json:"down,omitempty"`     // of links: NICs by machine
	Impaired topology.Impaired   `json:"impaired,omitempty"` // of impaired
	Hint     string              `json:"hint,omitempty"`
}

// RemoteMain executes one order, which it reads as JSON from stdin, and writes the answer to stdout.
func RemoteMain(stdin io.Reader, stdout, stderr io.Writer) int {
	var o order
	err := json.NewDecoder(stdin).Decode(&o)
	var a answer
	if err == nil {
		a, err = o.obey(context.Background())
	}
	if err != nil {
		a.Error = err.Error()
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			a.Hint = hinted.Hint()
		}
	}
	if err := json.NewEncoder(stdout).Encode(a); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func (o order) obey(ctx context.Context) (a answer, err error) {
	if err := o.Lab.Check(); err != nil {
		return a, err
	}
	if o.Do != "delete" && o.Plan.Lab != o.Lab {
		return a, fmt.Errorf("order %q for lab %s: the plan is of lab %s", o.Do, o.Lab, o.Plan.Lab)
	}
	switch o.Do {
	case "create":
		if err := fabric.Create(ctx, o.Plan); err != nil {
			return a, err
		}
		return a, fabric.Stretch(ctx, o.Plan, o.Ends)
	case "diff":
		if a.Lines, err = fabric.Diff(o.Plan, o.Off...); err != nil {
			return a, err
		}
		if len(a.Lines) > 0 { // there may be nothing to stretch
			return a, nil
		}
		a.Lines, err = fabric.Stretched(o.Plan, o.Ends)
		return a, err
	case "plugged":
		m, _ := o.Plan.Machine(o.Node)
		a.Plugged = fabric.Plugged(o.Lab, m)
		return a, nil
	case "plug":
		space, err := spaceOf(ctx, o.Socket)
		if err != nil {
			return a, err
		}
		return a, fabric.Plug(ctx, o.Plan, o.NIC, space, o.Tap)
	case "link":
		return a, fabric.SetLink(ctx, o.Lab, []topology.NIC{o.NIC}, o.Up)
	case "links":
		a.Down, err = fabric.LinksDown(o.Plan)
		return a, err
	case "impair":
		return a, fabric.Impair(ctx, o.Lab, []topology.NIC{o.NIC}, o.Impair)
	case "impaired":
		a.Impaired, err = fabric.Impaired(o.Plan)
		return a, err
	case "delete":
		return a, fabric.Delete(ctx, o.Lab)
	}
	return a, fmt.Errorf("unknown order %q", o.Do)
}

// order executes an order on the hypervisor's machine.
func (h *hypervisor) order(ctx context.Context, lab labs.Name, o order) (a answer, err error) {
	if err := h.bring(ctx, lab); err != nil {
		return a, err
	}
	o.Lab = lab
	text, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	out, err := h.remote.Run(ctx, bytes.NewReader(text), h.program, RemoteVerb)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("netlab on %s: unexpected output %q: %w", h.remote.At.Host, out, err)
	}
	if a.Error == "" {
		return a, nil
	}
	err = fmt.Errorf("on %s: %s", h.remote.At.Host, a.Error)
	if a.Hint != "" {
		err = hint.With(err, a.Hint)
	}
	return a, err
}

// Scripts on a remote machine, for the file $1 with the SHA-256 $2. To the one that receives it a
// connection that is cut looks like the end of the file: only its digest says that it is whole.
const (
	hasProgram  = `test -x "$1" && echo "$2  $1" | sha256sum --check --status`
	takeProgram = `set -e
mkdir -p "${1%/*}"
rm -f "${1%/*}"/netlab-*
cat >"$1.part"
if ! echo "$2  $1.part" | sha256sum --check --status; then
	rm -f "$1.part"
	echo "the upload was cut, or the file changed on its way" >&2
	exit 1
fi
chmod 755 "$1.part"
mv "$1.part" "$1"`
)

// bring copies netlab to the remote machine, unless it has the same file.
func (h *hypervisor) bring(ctx context.Context, lab labs.Name) error {
	if h.program != "" {
		return nil
	}
	self, err := os.Open("/proc/self/exe") // the running executable, even if its path was replaced
	if err != nil {
		return err
	}
	defer self.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, self); err != nil {
		return err
	}
	if _, err := self.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x", hash.Sum(nil))
	program := filepath.Join(remoteDir(lab), "netlab-"+sum[:16])
	if _, err := h.remote.Run(ctx, nil, "sh", "-c", hasProgram, "sh", program, sum); err == nil {
		h.program = program
		return nil
	}
	if _, err := h.remote.Run(ctx, self, "sh", "-c", takeProgram, "sh", program, sum); err != nil {
		return fmt.Errorf("copy netlab to %s: %w", h.remote.At.Host, err)
	}
	h.program = program
	return nil
}

// segments creates a lab's networks on every hypervisor's machine and connects them.
func (hs hypervisors) segments(ctx context.Context, req providers.Request) (err error) {
	plan := req.Plan
	if len(plan.Remotes()) == 0 {
		return fabric.Stretch(ctx, plan, nil) // remove connections to former remote machines
	}
	done := req.Step("networks on other machines")
	defer func() { done(err) }()
	for _, uri := range plan.Remotes() {
		if _, err := hs[uri].order(ctx, plan.Lab, order{Do: "create", Plan: plan.At(uri), Ends: hs.ends(plan, uri)}); err != nil {
			return err
		}
	}
	return fabric.Stretch(ctx, plan, hs.ends(plan, ""))
}

// differs lists what segments would change, but for machines that are off.
func (hs hypervisors) differs(ctx context.Context, plan topology.Plan, off []string) (lines []string, err error) {
	if lines, err = fabric.Stretched(plan, hs.ends(plan, "")); err != nil {
		return nil, err
	}
	for _, uri := range plan.Remotes() {
		a, err := hs[uri].order(ctx, plan.Lab, order{Do: "diff", Plan: plan.At(uri), Ends: hs.ends(plan, uri), Off: off})
		if err != nil {
			return nil, err
		}
		for _, line := range a.Lines {
			lines = append(lines, line+hs[uri].on())
		}
	}
	return lines, nil
}

// plugged reports whether a machine's NICs are all ports of the lab's networks.
func (h *hypervisor) plugged(ctx context.Context, plan topology.Plan, m topology.Machine) (bool, error) {
	if h.remote == nil {
		return fabric.Plugged(plan.Lab, m), nil
	}
	a, err := h.order(ctx, plan.Lab, order{Do: "plugged", Plan: plan.At(h.uri), Node: m.Name})
	return a.Plugged, err
}

// plug connects a tap of the hypervisor as the port of a NIC.
func (h *hypervisor) plug(ctx context.Context, plan topology.Plan, nic topology.NIC, tap string) error {
	if h.remote == nil {
		space, err := spaceOf(ctx, h.socket)
		if err != nil {
			return err
		}
		return fabric.Plug(ctx, plan, nic, space, tap)
	}
	_, err := h.order(ctx, plan.Lab, order{Do: "plug", Plan: plan.At(h.uri), NIC: nic, Tap: tap, Socket: h.socket})
	return err
}

// unlink removes a lab's networks on a remote machine.
func (h *hypervisor) unlink(ctx context.Context, lab labs.Name) error {
	if h.remote == nil {
		return nil // local.Stop does it
	}
	out, err := h.remote.Run(ctx, nil, "sh", "-c", `ls -d "$@" 2>/dev/null; true`, "sh", fabric.Path(lab, ""), remoteDir(lab))
	if err != nil || len(out) == 0 {
		return err
	}
	_, err = h.order(ctx, lab, order{Do: "delete"})
	return err
}

// forget removes a lab's files on a remote machine.
func (h *hypervisor) forget(ctx context.Context, lab labs.Name) error {
	if h.remote == nil {
		return nil // they are in the state directory
	}
	_, err := h.remote.Run(ctx, nil, "sh", "-c", `rm -rf "$1" && { rmdir "${1%/*}" 2>/dev/null || true; }`, "sh", remoteDir(lab))
	return err
}
