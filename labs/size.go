package labs

import (
	"fmt"
	"regexp"
	"strconv"
)

const (
	mib Size = 1 << 20
	gib Size = 1 << 30
)

var sizePattern = regexp.MustCompile(`^([1-9][0-9]{0,6})([MGT])iB$`)

// sizeUnits are the units of a Size, the largest first.
var sizeUnits = []struct {
	prefix string
	bytes  Size
}{{"T", 1 << 40}, {"G", gib}, {"M", mib}}

// String writes the size as a lab file has it; fractions of a MiB are rounded down.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s%u.bytes == 0 && s != 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.prefix + "iB"
		}
	}
	return strconv.FormatInt(int64(s/mib), 10) + "MiB"
}

// MarshalText writes what UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size of whole units.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizePattern.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not a valid size", text)
	}
	number, err := strconv.ParseInt(string(m[1]), 10, 64)
	for _, u := range sizeUnits {
		if u.prefix == string(m[2]) {
			*s = Size(number) * u.bytes
		}
	}
	return err
}
