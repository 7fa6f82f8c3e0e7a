// Package exercises is the exercise file: a lab, what is broken in it, the story of who suffers, and
// the paths that are as expected once it is mended. It takes the bytes of a YAML file and returns an
// Exercise, or all problems at once, and it keeps the record of an exercise that runs in a lab. It
// breaks nothing and asks no path: package engine does.
package exercises

import "netlab.dev/netlab/labs"

// Kind is in the header of every exercise file, beside labs.APIVersion.
const Kind = "Exercise"

// Exercise is one exercise file, with defaults filled in. Its name is that of the file.
type Exercise struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Title      string   `json:"title"`             // one line, without the answer
	Chapter    string   `json:"chapter"`           // of the course that it belongs to
	Minutes    int      `json:"minutes"`           // that it should take
	Lab        Text     `json:"lab"`               // lab file that it is done in; several exercises may share a lab
	Objects    []Text   `json:"objects,omitempty"` // of Kubernetes, as YAML, that the exercise adds to the lab, each in a Namespace that is one of them
	Story      string   `json:"story"`             // what the users of the cluster complain about
	Faults     []Step   `json:"faults"`            // what is wrong, in the order in which it is done
	Hints      []string `json:"hints"`             // from a direction to look in to nearly the answer
	Solved     Solved   `json:"solved"`            // what is true before the faults and after a solution
	Solution   Solution `json:"solution"`

	Name string    `json:"-"`
	File string    `json:"-"` // absolute
	Of   labs.Name `json:"-"` // the lab
	Adds string    `json:"-"` // all Objects, as one text
}

// Text is a file, or its text.
type Text struct {
	File   string `json:"file,omitempty"`   // path, relative to the exercise
	Inline string `json:"inline,omitempty"` // the text itself
}

// Step is one change of a lab: exactly one of its fields is set.
type Step struct {
	Patch  *Patch  `json:"patch,omitempty"`  // changes an object of the cluster
	Delete string  `json:"delete,omitempty"` // deletes an object of the cluster: KIND/NAMESPACE/NAME, or KIND/NAME of one without a Namespace
	Apply  string  `json:"apply,omitempty"`  // creates or replaces objects of the cluster, as YAML
	Run    *Run    `json:"run,omitempty"`    // runs a command in a machine of the lab
	Link   string  `json:"link,omitempty"`   // sets the link of MACHINE:NIC down at the switch
	Signal *Signal `json:"signal,omitempty"` // sends a signal to the processes of a daemon
}

// Patch is `kubectl patch`.
type Patch struct {
	Object string `json:"object"`         // KIND/NAMESPACE/NAME, or KIND/NAME of one without a Namespace
	Type   string `json:"type,omitempty"` // merge, json or strategic
	With   string `json:"with"`           // the patch, as YAML or JSON
}

// Run is a shell command.
type Run struct {
	Machine string `json:"machine"`
	Command string `json:"command"` // of sh, with ip, nft, sysctl, tc and the other tools of a machine
	Undo    string `json:"undo"`    // that takes back what command did, also if somebody else has done so before
}

// Signal is a daemon that dies or hangs.
type Signal struct {
	Machine string `json:"machine"`
	Process string `json:"process"`        // name of the processes, such as kubelet
	Send    string `json:"send,omitempty"` // KILL: it dies and is started again by the machine; STOP: it hangs
}

// Solved is what is expected once the lab is mended. Paths that must be denied keep a solution from
// passing that takes away more than the fault.
type Solved struct {
	Paths  []labs.Path `json:"paths,omitempty"`  // as verify.paths of a lab file
	Verify []string    `json:"verify,omitempty"` // ids of netlab's own paths, with all of their properties
}

// Solution is the answer.
type Solution struct {
	Text  string `json:"text"`            // what was wrong, how that is seen, and what mends it
	Steps []Step `json:"steps,omitempty"` // that mend it; default: the faults are undone
}

// The types of a Patch, as kubectl names them.
const (
	PatchMerge     = "merge"
	PatchJSON      = "json"
	PatchStrategic = "strategic"
)

// The signals of a Signal.
const (
	SendKill = "KILL"
	SendStop = "STOP"
)

func patchTypes() []string { return []string{PatchMerge, PatchJSON, PatchStrategic} }

func signals() []string { return []string{SendKill, SendStop} }

const maxMinutes = 240
