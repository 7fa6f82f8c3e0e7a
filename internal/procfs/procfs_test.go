package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const rest = " 5 6 7 8 4194560 10 11 12 13 14 15 16 17 18 19 20 21 4711 23 24\n"
	for text, want := range map[string]Stat{
		"12 (sh) S 1" + rest:          {State: "S", Parent: 1, Flags: 4194560, Start: "4711"},
		"12 (a) b) c) Z 77" + rest:    {State: "Z", Parent: 77, Flags: 4194560, Start: "4711"},
		"12 (Web Content) R 9" + rest: {State: "R", Parent: 9, Flags: 4194560, Start: "4711"},
	} {
		if got, err := parse([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v (%v), want %+v", text, got, err, want)
		}
	}
	for state, want := range map[string]bool{"S 1 5 6 7 8 4194560": false, "S 1 5 6 7 8 4194564": true, "Z 1 5 6 7 8 4194560": true} {
		got, err := parse([]byte("12 (sh) " + state + strings.TrimPrefix(rest, " 5 6 7 8 4194560")))
		if err != nil || got.Exiting() != want {
			t.Errorf("%s: exiting is %v (%v), want %v", state, got.Exiting(), err, want)
		}
	}
	for _, bad := range []string{"", "12", "12 (sh) S 1", "12 (sh) S x" + rest, "12 (sh) S 1" + strings.Replace(rest, "4194560", "x", 1)} {
		if got, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestRead(t *testing.T) {
	s, err := Read(os.Getpid())
	if err != nil || s.Parent != os.Getppid() || s.Start == "" || !Alive(os.Getpid()) {
		t.Errorf("this process: %+v (%v)", s, err)
	}
	if _, err := Read(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	for deadline := time.Now().Add(10 * time.Second); Alive(child.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a child that ended and was not waited for is alive")
		}
	}
	if s, err := Read(child.Process.Pid); err != nil || !s.Ended() {
		t.Errorf("the ended child: %+v (%v)", s, err)
	}
}
