package exercises

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/topology"
)

// Object names an object of the cluster.
type Object struct{ Kind, Namespace, Name string }

// ParseObject reads KIND/NAMESPACE/NAME, or KIND/NAME of an object without a Namespace. The kind is
// what kubectl takes: networkpolicy, ipaddresspools.metallb.io.
func ParseObject(text string) (Object, error) {
	parts := strings.Split(text, "/")
	if slices.Contains(parts, "") {
		return Object{}, fmt.Errorf("%q has an empty part", text)
	}
	switch len(parts) {
	case 2:
		return Object{Kind: parts[0], Name: parts[1]}, nil
	case 3:
		return Object{parts[0], parts[1], parts[2]}, nil
	}
	return Object{}, fmt.Errorf("%q is not KIND/NAMESPACE/NAME", text)
}

// kinds names the fields of a step that are set.
func (s Step) kinds() (set []string) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"patch", s.Patch != nil}, {"delete", s.Delete != ""}, {"apply", s.Apply != ""},
		{"run", s.Run != nil}, {"link", s.Link != ""}, {"signal", s.Signal != nil},
	} {
		if f.set {
			set = append(set, f.name)
		}
	}
	return set
}

// steps checks a list of faults, or of steps of a solution.
func (v *validator) steps(list string, steps []Step) {
	for i, s := range steps {
		at := fmt.Sprintf("%s[%d]", list, i)
		kinds := s.kinds()
		switch {
		case len(kinds) == 1:
			v.step(at, list, s)
		case !v.Reported(at):
			v.Add(at, "set one of patch, delete, apply, run, link and signal", "sets %s", strings.Join(append(kinds, "nothing")[:max(1, len(kinds))], " and "))
		}
	}
}

func (v *validator) step(at, list string, s Step) {
	switch {
	case s.Patch != nil:
		v.object(at+".patch.object", s.Patch.Object)
		v.oneOf(at+".patch.type", s.Patch.Type, patchTypes())
		if body, err := s.Patch.JSON(); err != nil {
			v.Add(at+".patch.with", "", "is not valid YAML: %v", err)
		} else if s.Patch.With == "" || string(body) == "null" {
			v.Add(at+".patch.with", "", "is missing")
		}
	case s.Delete != "":
		v.object(at+".delete", s.Delete)
	case s.Apply != "":
		if _, err := manifests.Parse([]byte(s.Apply)); err != nil {
			v.Add(at+".apply", "", "%v", err)
		}
	case s.Run != nil:
		v.machine(at+".run.machine", s.Run.Machine)
		if s.Run.Command == "" {
			v.Add(at+".run.command", "", "is missing")
		}
		if s.Run.Undo == "" && list == "faults" {
			v.Add(at+".run.undo", "add the command that takes it back", "is missing")
		}
	case s.Link != "":
		v.link(at+".link", s.Link)
	case s.Signal != nil:
		v.machine(at+".signal.machine", s.Signal.Machine)
		v.oneOf(at+".signal.send", s.Signal.Send, signals())
		if p := s.Signal.Process; p == "" {
			v.Add(at+".signal.process", "for example kubelet", "is missing")
		} else if strings.ContainsAny(p, "/ ") {
			v.Add(at+".signal.process", "for example kubelet", "%q is not the name of a process", p)
		}
	}
	if list != "faults" && (s.Link != "" || s.Signal != nil) {
		v.Add(at, "leave out the steps: the faults are undone", "breaks more")
	}
}

// JSON is the patch as kubectl takes it, whichever of YAML and JSON it was written in.
func (p Patch) JSON() ([]byte, error) { return yaml.YAMLToJSON([]byte(p.With)) }

func (v *validator) object(field, text string) {
	if text == "" {
		v.Add(field, "", "is missing")
	} else if _, err := ParseObject(text); err != nil {
		v.Add(field, "KIND/NAMESPACE/NAME, or KIND/NAME of an object without a Namespace", "%v", err)
	}
}

func (v *validator) oneOf(field, value string, known []string) {
	if !slices.Contains(known, value) {
		v.Add(field, labs.DidYouMean(value, known), "%q is not supported", value)
	}
}

// machine checks the name of a machine, if the lab could be read.
func (v *validator) machine(field, name string) (m topology.Machine, found bool) {
	if name == "" {
		v.Add(field, "", "is missing")
		return m, false
	}
	m, found = v.plan.Machine(name)
	if !found && len(v.plan.Machines) > 0 {
		var known []string
		for _, m := range v.plan.Machines {
			known = append(known, m.Name)
		}
		v.Add(field, labs.DidYouMean(name, known), "the lab has no machine %s", name)
	}
	return m, found
}

func (v *validator) link(field, text string) {
	name, nic, one := strings.Cut(text, ":")
	if !one || nic == "" {
		v.Add(field, "for example w1:eth0", "%q is not MACHINE:NIC", text)
		return
	}
	m, found := v.machine(field, name)
	if found && !slices.ContainsFunc(m.NICs, func(n topology.NIC) bool { return n.Name == nic }) {
		v.Add(field, "", "machine %s has no NIC %s", name, nic)
	}
}
