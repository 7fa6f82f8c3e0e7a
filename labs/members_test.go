package labs

import "testing"

// The largest prefix in a pool decides how short announced prefixes may be.
func TestShortestPrefixOfPools(t *testing.T) {
	for text, want := range map[string]int{
		"198.51.100.0/24": 24, "10.0.0.0/8": 8, "198.51.100.1-198.51.100.20": 29, "198.51.100.7-198.51.100.7": 32, "198.51.100.7-198.51.100.8": 32,
		"198.51.100.6-198.51.100.8": 31, "198.51.100.0-198.51.101.200": 24, "198.51.100.1-198.51.100.254": 26, "0.0.0.0-255.255.255.255": 0,
	} {
		pool, err := ParsePool(text)
		if err != nil || pool.shortest() != want {
			t.Errorf("%s: %d (%v), want %d", text, pool.shortest(), err, want)
		}
	}
}
