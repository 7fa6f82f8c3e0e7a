package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
)

// nameOffline is a lab made from a bundle.
const nameOffline = "nlt-offline"

// offlineScript runs netlab ($2) in a network namespace that has nothing but lo, where the default
// route leads, so that a capture ($1) shows every attempt to reach something outside: the lab ($4)
// is made of a bundle ($3), verified and removed. One datagram at the end proves the capture.
const offlineScript = `capture=$1 netlab=$2 bundle=$3 lab=$4 name=$5
ip link set lo up
ip route add default dev lo
tshark -q -i lo -f 'udp port 53 or not net 127.0.0.0/8' -w "$capture" 2>"$capture.log" &
tshark=$!
n=0; until grep -q 'Capture started' "$capture.log"; do n=$((n+1)); [ $n -lt 200 ] || { cat "$capture.log"; exit 1; }; sleep 0.05; done
"$netlab" up --offline --bundle "$bundle" "$lab"; code=$?
"$netlab" down "$name" || code=$?
echo proof >/dev/udp/192.0.2.9/9
sleep 1
kill -INT $tshark; wait $tshark
exit $code
`

// TestOffline: a machine without a network, with an empty cache and no compiler makes a lab of a
// bundle, and tries to reach nothing.
func TestOffline(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	b := l.lab(t, nameOffline, small)
	bundle := filepath.Join(l.dir, "lab.bundle")
	t.Log(l.run(t, 0, "bundle", "create", b.file, "-o", bundle))
	capture := filepath.Join(l.dir, "outside.pcapng")
	cmd := exec.Command("unshare", "--net", "bash", "-c", offlineScript, "bash", capture, l.netlab, bundle, b.file, b.name)
	cmd.Env = append(os.Environ(), "NETLAB_STATE_DIR="+l.state, "NETLAB_CACHE_DIR="+filepath.Join(l.dir, "cache"), "NETLAB_SOURCES=", "PATH="+withoutCompilers(t))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("%5.1f s  import, up, verify and down\n%s", time.Since(began).Seconds(), out)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := exec.Command("tshark", "-r", capture, "-T", "fields", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "dns.qry.name").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, packet := range strings.Split(strings.TrimSpace(string(seen)), "\n") {
		if strings.TrimSpace(packet) != "192.0.2.9" {
			t.Errorf("a packet was sent outside: %q", packet)
		}
	}
	b.clean(t)

	// What a bundle does not hold is named, and nothing is made.
	b.write(t, quickstart(t))
	cmd = l.command("up", "--offline", b.file)
	cmd.Env = append(cmd.Env, "NETLAB_CACHE_DIR="+filepath.Join(l.dir, "cache"))
	out, err = cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !bytes.Contains(out, []byte("image registry.k8s.io/ingress-nginx/controller:")) {
		t.Errorf("a lab that the bundle is not for: %v\n%s", err, out)
	}
	b.clean(t)
}

// withoutCompilers is a PATH with all programs of the machine but those that builds run.
func withoutCompilers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		programs, _ := os.ReadDir(from)
		for _, p := range programs {
			name := p.Name()
			if name == "go" || name == "mmdebstrap" || strings.Contains(name, "gcc") || name == "cc" || name == "ld" {
				continue
			}
			_ = os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)) // the first of a name counts
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tar")); err != nil {
		t.Fatal(err)
	}
	return dir
}
