package providers

import (
	"errors"
	"fmt"

	"netlab.dev/netlab/topology"
)

// OffError is the error of a machine that is off.
type OffError struct{ Kind, Name string } // of the topology.Machine

// Off returns the OffError of a machine.
func Off(m topology.Machine) error { return OffError{m.Kind, m.Name} }

func (e OffError) Error() string { return fmt.Sprintf("%s %s is off", e.Kind, e.Name) }

// OnlyOff reports whether an error says of some machines that they are off, and nothing else:
// the others can be worked with.
func OnlyOff(err error) bool {
	switch e := err.(type) {
	case OffError:
		return true
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !OnlyOff(inner) {
				return false
			}
		}
		return true
	}
	inner := errors.Unwrap(err)
	return inner != nil && OnlyOff(inner)
}
