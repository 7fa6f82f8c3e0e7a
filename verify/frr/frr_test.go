package frr

import (
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
			{Peer: netip.MustParseAddr("10.9.1.2"), ASN: 64502, State: Established, Since: at(1795988518), Received: 4, Sent: 6, BFD: bfd(Up, "ok")},
			{Peer: netip.MustParseAddr("10.9.2.2"), ASN: 64503, State: Established, Since: at(1795988518), Received: 4, Sent: 6, BFD: bfd(Up, "ok")},
		},
		// The link to the first neighbor is down: BFD noticed.
		"cut": {
			{Peer: netip.MustParseAddr("10.9.1.2"), ASN: 64502, State: "Active", Since: at(1795988524), Drops: 1, BFD: bfd("down", "control detection time expired")},
			{Peer: netip.MustParseAddr("10.9.2.2"), ASN: 64503, State: Established, Since: at(1795988519), Received: 4, Sent: 5, BFD: bfd(Up, "ok")},
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
		"":                             `FRR: ""`,
		"bgpd is not running\n":        `FRR: "bgpd is not running"`,
		"{\n}\nbfdd is not running\n":  "FRR's JSON: invalid character",
		"{\n}\n":                       "FRR's JSON: EOF",
		"{\"peers\": {\"x\": {}}}\n[]": "FRR's JSON: ParseAddr",
	} {
		if _, err := Parse([]byte(output)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q gives %v, want %s", output, err, want)
		}
	}
}
