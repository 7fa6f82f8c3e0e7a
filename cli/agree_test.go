package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"netlab.dev/netlab/topology"
)

// On a terminal the user is asked, with what would be deleted; only a yes agrees. Elsewhere
// nobody is asked.
func TestAgreeOnATerminal(t *testing.T) {
	changes := topology.Changes{Remake: []string{"kubernetes.proxy changes from iptables to nftables"},
		Lose: []string{"the disks of all its Nodes", "2 Namespaces: shop, wiki", "3 workloads: Deployment shop/web"}}
	for typed, want := range map[string]bool{"y\n": true, " YES \n": true, "n\n": false, "\n": false, "yes please\n": false, "\x04": false} {
		t.Run(strings.TrimSpace(typed), func(t *testing.T) {
			control, terminal, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer control.Close()
			defer terminal.Close()
			if err := pty.Setsize(control, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
				t.Fatal(err)
			}
			a := &app{stdin: terminal, stderr: terminal}
			agree := a.agree(false)
			if agree == nil {
				t.Fatal("on a terminal nobody is asked")
			}
			shown := make(chan string, 1)
			go func() { shown <- readUntil(control, "[y/N] ", typed) }()
			if got := agree(changes); got != want {
				t.Errorf("%q is taken for %t", typed, got)
			}
			if got := <-shown; !strings.Contains(got, "continue, and delete the disks of all its Nodes; 2 Namespaces; 3 workloads? [y/N] ") {
				t.Errorf("it shows %q", got)
			}
		})
	}
	if a := (&app{stdin: strings.NewReader("y\n"), stderr: &bytes.Buffer{}}); a.agree(false) != nil || !a.agree(true)(changes) {
		t.Error("without a terminal somebody is asked, or --remake is not taken for a yes")
	}
}

// readUntil reads a terminal until it shows a text, and types an answer.
func readUntil(control *os.File, text, answer string) string {
	control.SetReadDeadline(time.Now().Add(10 * time.Second))
	var shown []byte
	buf := make([]byte, 1024)
	for !bytes.Contains(shown, []byte(text)) {
		n, err := control.Read(buf)
		if err != nil {
			return string(shown) + err.Error()
		}
		shown = append(shown, buf[:n]...)
	}
	control.WriteString(answer)
	return string(shown)
}
