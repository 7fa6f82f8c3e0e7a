package labs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxName is the longest lab name: it becomes part of the names of directories, cgroups,
// namespaces, containers and domains.
const maxName = 32

// Name is a lab's name: a DNS label (RFC 1123) of at most 32 characters. ParseName is the
// only constructor, so that every path, cgroup and label made from a Name belongs to one lab.
// The zero Name is invalid: whatever creates, reads or removes something rejects it.
type Name struct{ label string }

// errNoName rejects the zero Name.
var errNoName = errors.New("no lab name given")

// NameError says why a text is not a lab name.
type NameError struct{ Text, Why, hint string }

func (e *NameError) Error() string { return fmt.Sprintf("lab name %q %s", e.Text, e.Why) }

// Hint says what a lab name looks like.
func (e *NameError) Hint() string { return e.hint }

const notLabel = "is not a DNS label"

var nameLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// ParseName reads a lab's name; its error is a *NameError.
func ParseName(text string) (Name, error) {
	switch {
	case text == "":
		return Name{}, &NameError{text, "is empty", labelHint(text, maxName)}
	case !nameLabel.MatchString(text):
		return Name{}, &NameError{text, notLabel, labelHint(text, maxName)}
	case len(text) > maxName:
		return Name{}, &NameError{text, fmt.Sprintf("has %d characters", len(text)), fmt.Sprintf("use %d at most: the name is part of namespace, cgroup and directory names", maxName)}
	}
	return Name{text}, nil
}

// MustName is ParseName for names that the program itself gives; it panics.
func MustName(text string) Name {
	n, err := ParseName(text)
	if err != nil {
		panic(err)
	}
	return n
}

// String returns the name for messages. The text of the zero Name is not a valid path element
// of a lab either.
func (n Name) String() string {
	if n.label == "" {
		return "<no lab>"
	}
	return n.label
}

// Label returns the name as a part of paths, cgroups, links and labels. It panics for the zero
// Name; exported functions that act on a lab return Check's error first.
func (n Name) Label() string {
	if n.label == "" {
		panic(errNoName)
	}
	return n.label
}

// Check returns an error for the zero Name.
func (n Name) Check() error {
	if n.label == "" {
		return errNoName
	}
	return nil
}

// MarshalText writes the name as a plain string.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.label), n.Check() }

// UnmarshalText accepts what ParseName accepts.
func (n *Name) UnmarshalText(text []byte) (err error) {
	*n, err = ParseName(string(text))
	return err
}

// labelHint returns a hint for a text that is not a DNS label.
func labelHint(text string, most int) string {
	suggestion := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(text), "-"), "-")
	if suggestion != "" && len(suggestion) <= most {
		return "use " + suggestion
	}
	return fmt.Sprintf("use at most %d lower-case letters, digits and -, starting and ending with a letter or digit", most)
}
