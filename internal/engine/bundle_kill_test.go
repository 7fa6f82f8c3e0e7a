package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
)

// TestMain lets a test run this program again as another process that writes a bundle.
func TestMain(m *testing.M) {
	if dir := os.Getenv("NETLAB_TEST_BUNDLE"); dir != "" {
		if err := createBundle(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type silent struct{}

func (silent) Step(string) func(error)                     { return func(error) {} }
func (silent) Changing(string) (func(error), func(string)) { return func(error) {}, func(string) {} }
func (silent) Note(string)                                 {}
func (silent) Warn(string)                                 {}

// createBundle writes dir/lab.bundle, whose node image is a file that does not compress.
func createBundle(dir string) error {
	big := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{}).Read(big)
	catalog, err := components.Read(fstest.MapFS{"k/big": {Data: big}, "k/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nimages:\n" +
		"  - {name: example.org/node, node: true, files: [{to: /big, own: big}]}\n")}})
	if err != nil {
		return err
	}
	e := Engine{Catalog: catalog, Software: artifacts.Cache{Dir: filepath.Join(dir, "cache"), Self: "/proc/self/exe", Sources: []artifacts.Source{artifacts.Build}}}
	_, _, err = e.CreateBundle(context.Background(), []components.Set{{Components: catalog["k"]}}, "test", filepath.Join(dir, "lab.bundle"), silent{})
	return err
}

// A `bundle create` that is killed leaves no bundle or a whole one, whenever it was, and the next
// one writes the same bytes and tidies up.
func TestKilledBundle(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the node image is unpacked with its owners")
	}
	dir := t.TempDir()
	if err := createBundle(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "lab.bundle")
	want, size := sumOf(t, file)
	interrupted := 0
	for moment := range 10 {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "NETLAB_TEST_BUNDLE="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; {
			written, err := os.Stat(partialOf(file))
			_, ended := os.Stat(file)
			if err == nil && written.Size() >= size*int64(moment)/10 || ended == nil || time.Now().After(deadline) {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		if _, err := os.Stat(file); err == nil {
			if got, _ := sumOf(t, file); got != want {
				t.Errorf("moment %d: it left another bundle", moment)
			}
		} else {
			interrupted++
		}
		if err := createBundle(dir); err != nil {
			t.Fatalf("moment %d, the next run: %v", moment, err)
		}
		if got, _ := sumOf(t, file); got != want {
			t.Errorf("moment %d: the next run wrote another bundle", moment)
		}
		if _, err := (Engine{}).VerifyBundle(t.Context(), file); err != nil {
			t.Errorf("moment %d: %v", moment, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
			t.Errorf("moment %d: left are %v, %v", moment, left, err)
		}
	}
	if interrupted < 3 {
		t.Errorf("%d of 10 were killed while they wrote", interrupted)
	}
}

func sumOf(t *testing.T, file string) (sum [32]byte, size int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data), int64(len(data))
}
