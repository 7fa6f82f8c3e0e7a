package agent

import "testing"

// What the kernel counts says why a session with a password does not begin.
func TestRefusedSegments(t *testing.T) {
	const header = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\n"
	for values, want := range map[string]string{
		"TcpExt: 7 0 0 0\n": "",
		"TcpExt: 0 0 0 9\n": "TCP segments refused so far: 9 with another password",
		"TcpExt: 0 2 1 0\n": "TCP segments refused so far: 2 without a password, 1 with a password, where this router has none",
		"":                  "",
	} {
		if got := refusedSegments(header + values + "IpExt: InNoRoutes\nIpExt: 3\n"); got != want {
			t.Errorf("%q: %q, want %q", values, got, want)
		}
	}
}
