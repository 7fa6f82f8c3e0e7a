package seed

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/topology"
)

// What is written is read again, with the plan's NICs and routes.
func TestRoundTrip(t *testing.T) {
	lab := labs.Default(labs.MustName("x"), labstest.Known())
	lab.Nodes[1].Networks = []string{"lan", "wan"}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := plan.Machine("w1")
	want := New(labs.MustName("x"), m, Keys{"ssh-ed25519 A", "private\nkey\n", "ssh-ed25519 B"},
		map[string]kubeadm.File{"/etc/a": {Data: []byte("\x00bytes: {"), Mode: 0o600}, "/etc/b": {Data: []byte(strings.Repeat("long ", 10000)), Mode: 0o644}})
	var disk bytes.Buffer
	if err := want.Write(&disk); err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(disk.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if data, err := got.User.WriteFiles[0].Data(); err != nil || string(data) != "\x00bytes: {" || got.User.WriteFiles[0].Permissions != "0600" {
		t.Errorf("file %+v: %q (%v)", got.User.WriteFiles[0], data, err)
	}
	first, second := got.Network.Ethernets["eth0"], got.Network.Ethernets["eth1"]
	if len(first.Routes) != 1 || first.Routes[0] != (Route{"0.0.0.0/0", "172.30.0.1"}) || len(second.Routes) != 0 {
		t.Errorf("routes of eth0 are %v, of eth1 %v", first.Routes, second.Routes)
	}
	// cloud-init finds the files by these names, and by this label: kernels show both so.
	for _, name := range []string{"user-data", "meta-data", "network-config", "CIDATA"} {
		if !bytes.Contains(disk.Bytes(), []byte(name)) {
			t.Errorf("no %s in the image", name)
		}
	}
}

// On a cloud image cloud-init names the machine, leaves the hosts to the files, and starts
// netlab's part.
func TestOnImage(t *testing.T) {
	plan, err := topology.Build(labs.Default(labs.MustName("x"), labstest.Known()))
	if err != nil {
		t.Fatal(err)
	}
	plain := New(labs.MustName("x"), plan.Nodes()[0], Keys{}, map[string]kubeadm.File{"/etc/hostname": {}, "/etc/hosts": {}, "/etc/resolv.conf": {Data: []byte("n")}})
	var disk bytes.Buffer
	if err := plain.OnImage("guest", "install").Write(&disk); err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(disk.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range got.User.WriteFiles {
		paths = append(paths, f.Path)
	}
	if want := []string{"/etc/hosts", ResolvConf}; !reflect.DeepEqual(paths, want) {
		t.Errorf("files are %v", paths)
	}
	script := "mkdir -p /opt/netlab && mount LABEL=netlab /opt/netlab && exec /opt/netlab/usr/local/bin/netlab \"$@\""
	if want := [][]string{{"sh", "-c", script, "sh", "guest", "install"}}; !reflect.DeepEqual(got.User.RunCmd, want) {
		t.Errorf("it runs %q", got.User.RunCmd)
	}
	if !bytes.Contains(disk.Bytes(), []byte("manage_etc_hosts: false")) || len(plain.User.WriteFiles) != 3 || plain.User.RunCmd != nil {
		t.Errorf("%s; the seed that it was made of: %+v", disk.Bytes(), plain.User)
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(bytes.NewReader(make([]byte, 1<<20))); err == nil {
		t.Error("an empty disk is read as a seed")
	}
	var disk bytes.Buffer
	if err := (Seed{}).Write(&disk); err != nil {
		t.Fatal(err)
	}
	other := bytes.ReplaceAll(disk.Bytes(), []byte(Label), []byte("OTHERS"))
	if _, err := Read(bytes.NewReader(other)); err == nil || !strings.Contains(err.Error(), "OTHERS") {
		t.Errorf("another label: %v", err)
	}
}
