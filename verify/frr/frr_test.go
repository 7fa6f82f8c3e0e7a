package frr

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recorded is what FRR 8.4.4 printed on a router of four: a leaf between two spines.
func recorded(t *testing.T, name string) State {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func bfd(status, diagnostic string) *BFD {
	return &BFD{Status: status, Diagnostic: diagnostic, ReceiveInterval: 100, TransmitInterval: 100, Multiplier: 3, RemoteReceive: 100, RemoteTransmit: 100, RemoteMultiplier: 3}
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func TestParse(t *testing.T) {
	for name, want := range map[string][]Session{
		"alone": {},
		"up": {
			{Peer: netip.MustParseAddr("10.9.1.2"), ASN: 64502, State: Established, Since: at(1795992041), Received: 4, Sent: 6, BFD: bfd(Up, "ok")},
			{Peer: netip.MustParseAddr("10.9.2.2"), ASN: 64503, State: Established, Since: at(1795992041), Received: 4, Sent: 6, BFD: bfd(Up, "ok")},
		},
		// The link to the first neighbor is down: BFD noticed.
		"cut": {
			{Peer: netip.MustParseAddr("10.9.1.2"), ASN: 64502, State: "Active", Since: at(1795992049), Drops: 1, BFD: bfd("down", "control detection time expired")},
			{Peer: netip.MustParseAddr("10.9.2.2"), ASN: 64503, State: Established, Since: at(1795992041), Received: 4, Sent: 5, BFD: bfd(Up, "ok")},
		},
		// The first neighbor has another AS than configured, bgpd of the second does not run.
		"never": {
			{Peer: netip.MustParseAddr("10.9.3.1"), ASN: 64999, State: "Idle", BFD: bfd(Up, "ok")},
			{Peer: netip.MustParseAddr("10.9.4.1"), ASN: 64503, State: "Active"},
		},
	} {
		if got := recorded(t, name).Sessions; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

// What is not the expected JSON is an error, never a router without sessions.
func TestParseRefuses(t *testing.T) {
	for output, want := range map[string]string{
		"":                                 `FRR: ""`,
		"bgpd is not running\n":            `FRR: "bgpd is not running"`,
		"{\n}\nbfdd is not running\n":      "FRR's JSON: invalid character",
		"{\n}\n[]\n":                       "FRR's JSON: EOF",
		"{\"peers\": {\"x\": {}}}\n[]\n{}": "FRR's JSON: ParseAddr",
	} {
		if _, err := Parse([]byte(output)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q gives %v, want %s", output, err, want)
		}
	}
}

// What a leaf accepts from each spine, and which next hops it uses.
func TestRoutes(t *testing.T) {
	up, cut := recorded(t, "up"), recorded(t, "cut")
	spineA, spineB := netip.MustParseAddr("10.9.1.2"), netip.MustParseAddr("10.9.2.2")
	for _, c := range []struct {
		got  any
		want string
	}{
		{up.Received(spineA), "[10.2.0.0/24 10.9.1.0/29 10.9.3.0/29 10.9.4.0/29]"},
		{up.Received(spineB), "[10.2.0.0/24 10.9.2.0/29 10.9.3.0/29 10.9.4.0/29]"},
		{cut.Received(spineA), "[]"},
		{up.NextHops(netip.MustParsePrefix("10.2.0.0/24")), "[10.9.1.2 10.9.2.2]"},
		{up.NextHops(netip.MustParsePrefix("10.9.3.0/29")), "[10.9.1.2]"},
		{up.NextHops(netip.MustParsePrefix("10.1.0.0/24")), "[]"}, // its own
		{up.NextHops(netip.MustParsePrefix("10.7.0.0/24")), "[]"},
		{cut.NextHops(netip.MustParsePrefix("10.2.0.0/24")), "[10.9.2.2]"},
		{len(recorded(t, "alone").Routes), "1"},
	} {
		if got := fmt.Sprint(c.got); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if x, ok := up.Session(spineB); !ok || x.ASN != 64503 {
		t.Errorf("the session with %s is %+v", spineB, x)
	}
	if _, ok := up.Session(netip.MustParseAddr("10.9.9.9")); ok {
		t.Error("a peer that is not configured has a session")
	}
}

// Why sessions are not established, in FRR's words.
func TestParseReset(t *testing.T) {
	for name, want := range map[string]string{
		"neighbor-asn": "BGP Notification send: OPEN Message Error/Bad Peer AS", "neighbor-cut": "Waiting for NHT", "neighbor-none": "",
	} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseReset(data); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
