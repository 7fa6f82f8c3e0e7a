package kubeconfig

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"netlab.dev/netlab/labs"
)

// of is a lab's own kubeconfig.
func of(name, server string) []byte {
	return []byte(`apiVersion: v1
kind: Config
clusters: [{name: ` + name + `, cluster: {server: "` + server + `", certificate-authority-data: Y2E=}}]
users: [{name: ` + name + `, user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}}]
contexts: [{name: ` + name + `, context: {cluster: ` + name + `, user: ` + name + `}}]
current-context: ` + name + "\n")
}

// users is a file with much of what one may hold.
const users = `apiVersion: v1
kind: Config
preferences: {colors: true}
extensions: [{name: tool.example, extension: {a: 1}}]
clusters:
- name: work
  cluster: {server: "https://work.example:6443", certificate-authority: ca.crt, proxy-url: "http://proxy.example:3128", extensions: [{name: x, extension: {b: 2}}]}
users:
- name: me
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login, args: [a, b], env: [{name: A, value: b}], interactiveMode: IfAvailable}, as: root, as-user-extra: {k: [v]}}
- {name: other, user: {tokenFile: /home/me/token}}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: mine}
current-context: work
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return file
}

func merge(t *testing.T, file, lab, server string) {
	t.Helper()
	if context, err := Merge(file, []string{file}, labs.MustName(lab), of("kind-"+lab, server)); err != nil || context != "kind-"+lab {
		t.Fatalf("context %q, %v", context, err)
	}
}

func unmerge(t *testing.T, file, lab string, want bool) {
	t.Helper()
	if found, err := Unmerge(file, labs.MustName(lab)); err != nil || found != want {
		t.Errorf("found entries of lab %s: %t (%v), want %t", lab, found, err, want)
	}
}

func read(t *testing.T, file string) *api.Config {
	t.Helper()
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// normal is a file as client-go writes it.
func normal(t *testing.T, text string) string {
	t.Helper()
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Everything of the user's is kept while two labs are added and removed, and so are the file's
// mode, its owner and the link that leads to it.
func TestKeepsAllElse(t *testing.T) {
	file := write(t, users)
	owner := os.Getuid()
	if owner == 0 {
		owner = 1234
		if err := os.Chown(file, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	merge(t, link, "a", "https://127.0.0.1:1")
	merge(t, link, "b", "https://127.0.0.1:2")
	config := read(t, file)
	if config.CurrentContext != "work" || len(config.Contexts) != 3 || config.Clusters["kind-b"].Server != "https://127.0.0.1:2" || string(config.AuthInfos["kind-a"].ClientKeyData) != "key" {
		t.Errorf("merged: %+v", config)
	}
	unmerge(t, link, "a", true)
	unmerge(t, link, "a", false)
	unmerge(t, link, "b", true)
	got, err := os.ReadFile(file)
	if want := normal(t, users); err != nil || string(got) != want {
		t.Errorf("left is\n%s\nwant\n%s (%v)", got, want, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o640 || int(st.Uid) != owner {
		t.Errorf("mode %s, owner %d", info.Mode(), st.Uid)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v (%v)", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) != 1 {
		t.Errorf("left next to the file: %v", entries)
	}
}

// A file that was created for a lab is removed with its last entry; an existing one stays.
func TestMakesAndRemovesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dir", "config")
	merge(t, file, "a", "https://127.0.0.1:1")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("made as %v (%v)", info, err)
	}
	if c := read(t, file).CurrentContext; c != "kind-a" {
		t.Errorf("current context of a file without one is %q", c)
	}
	merge(t, file, "a", "https://127.0.0.1:2") // at another port: still the one that made it
	unmerge(t, file, "a", true)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left (%v)", err)
	}
	empty := write(t, "apiVersion: v1\nkind: Config\n")
	merge(t, empty, "a", "https://127.0.0.1:1")
	unmerge(t, empty, "a", true)
	if c := read(t, empty); len(c.Contexts)+len(c.Clusters)+len(c.AuthInfos) > 0 || c.CurrentContext != "" {
		t.Errorf("left: %+v", c)
	}
}

// Merging again brings the entries up to date and keeps the namespace that the user chose.
func TestMergeAgain(t *testing.T) {
	file := write(t, users)
	merge(t, file, "a", "https://127.0.0.1:1")
	config := read(t, file)
	config.Contexts["kind-a"].Namespace = "chosen"
	config.CurrentContext = "kind-a"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	merge(t, file, "a", "https://127.0.0.1:2")
	if c := read(t, file); c.Contexts["kind-a"].Namespace != "chosen" || c.Clusters["kind-a"].Server != "https://127.0.0.1:2" {
		t.Errorf("merged again: %+v", c.Contexts["kind-a"])
	}
	unmerge(t, file, "a", true)
	if c := read(t, file); c.Contexts["kind-a"] != nil || c.CurrentContext != "" {
		t.Errorf("left: %+v", c)
	}
}

// An entry that the user replaced belongs to the user: it is neither removed nor replaced.
func TestTheUsersEntriesStay(t *testing.T) {
	file := write(t, users)
	merge(t, file, "a", "https://127.0.0.1:1")
	config := read(t, file)
	config.Clusters["kind-a"].Server = "https://elsewhere.example:6443"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	var conflict *ConflictError
	if _, err := Merge(file, nil, labs.MustName("a"), of("kind-a", "https://127.0.0.1:2")); !errors.As(err, &conflict) || conflict.Kind != "cluster" || conflict.Hint() == "" {
		t.Errorf("merging over a changed cluster: %v", err)
	}
	unmerge(t, file, "a", true)
	if c := read(t, file); c.Clusters["kind-a"] == nil || c.Clusters["kind-a"].Server != "https://elsewhere.example:6443" || c.Contexts["kind-a"] != nil || c.AuthInfos["kind-a"] != nil {
		t.Errorf("left: %+v", c)
	}

	// Another lab's, and one that never was a lab's.
	file = write(t, users)
	before, _ := os.ReadFile(file)
	if _, err := Merge(file, nil, labs.MustName("a"), of("work", "https://127.0.0.1:1")); !errors.As(err, &conflict) || conflict.Kind != "context" {
		t.Errorf("merging over the user's context: %v", err)
	}
	other := write(t, users)
	if _, err := Merge(filepath.Join(t.TempDir(), "new"), []string{other}, labs.MustName("a"), of("work", "https://127.0.0.1:1")); !errors.As(err, &conflict) || conflict.File != other {
		t.Errorf("merging next to a file that kubectl reads too: %v", err)
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("the file was written all the same")
	}
}

// A file that cannot be read whole is not written.
func TestRefusesToLose(t *testing.T) {
	for name, text := range map[string]string{
		"broken":        "clusters: [",
		"unknown field": strings.Replace(users, "namespace: mine", "namespace: mine, colour: red", 1),
		"other kind":    "apiVersion: v9\nkind: Config\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, text)
			if _, err := Merge(file, nil, labs.MustName("a"), of("kind-a", "https://127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("merge says %v", err)
			}
			if after, _ := os.ReadFile(file); string(after) != text {
				t.Errorf("the file is now\n%s", after)
			}
			if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) != 1 {
				t.Errorf("left next to the file: %v", entries)
			}
		})
	}
}

// Another that writes the file, by kubectl's lock, is waited for.
func TestWaitsForTheLock(t *testing.T) {
	synctest.Test(t, waitsForTheLock)
}

func waitsForTheLock(t *testing.T) {
	file := write(t, users)
	unlock, err := lock(file)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Merge(file, nil, labs.MustName("a"), of("kind-a", "https://127.0.0.1:1"))
		done <- err
	}()
	synctest.Wait() // until the other goroutine sleeps, which it does for the lock alone
	select {
	case err := <-done:
		t.Fatalf("merged without the lock (%v)", err)
	default:
	}
	// Meanwhile an entry comes that must not get lost.
	config := read(t, file)
	config.Contexts["late"] = &api.Context{Cluster: "work", AuthInfo: "me"}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c := read(t, file); c.Contexts["late"] == nil || c.Contexts["kind-a"] == nil {
		t.Errorf("contexts are %v", c.Contexts)
	}
}
