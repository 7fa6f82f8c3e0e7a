package labs

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
)

var ratePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kMGT]?)bit$`)

// rateUnits are the units of a Rate, the largest first.
var rateUnits = []struct {
	prefix string
	bits   int64
}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1}}

// String writes the rate as a lab file has it, exactly.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if int64(r)%u.bits == 0 {
			return strconv.FormatInt(int64(r)/u.bits, 10) + u.prefix + "bit"
		}
	}
	panic("unreachable: every rate is a multiple of 1 bit")
}

// MarshalText writes what UnmarshalText reads.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rate of at least 1 bit/s and of whole bits.
func (r *Rate) UnmarshalText(text []byte) error {
	m := ratePattern.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not a valid rate", text)
	}
	bits, _ := new(big.Rat).SetString(string(m[1]))
	for _, u := range rateUnits {
		if u.prefix == string(m[2]) {
			bits.Mul(bits, new(big.Rat).SetInt64(u.bits))
		}
	}
	if !bits.IsInt() || bits.Sign() == 0 || !bits.Num().IsInt64() {
		return fmt.Errorf("%q is not a whole number of bits, or out of range", text)
	}
	*r = Rate(bits.Num().Int64())
	return nil
}
