// Package seed is the configuration of a virtual machine for its first boot: a NoCloud data source
// of cloud-init (https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html),
// on a separate disk. New creates it from a plan, Write writes the ISO 9660 image, Read reads it in
// the guest. It is the same whether cloud-init or netlab's PID 1 reads it there.
package seed

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kdomanski/iso9660"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/topology"
)

// Label is the volume label of a NoCloud data source.
const Label = "CIDATA"

// Seed is the three files of a data source.
type Seed struct {
	Meta    Meta
	User    User
	Network Network
}

// Meta is meta-data.
type Meta struct {
	InstanceID string `json:"instance-id"` // files are written once for each id
	Hostname   string `json:"local-hostname"`
}

// User is user-data, a cloud-config.
type User struct {
	Users       []Account         `json:"users"`
	DisableRoot bool              `json:"disable_root"`
	SSHKeys     map[string]string `json:"ssh_keys"` // the host key: ed25519_private and ed25519_public
	WriteFiles  []File            `json:"write_files"`
	ManageHosts bool              `json:"manage_etc_hosts"` // if false, /etc/hosts is one of the files
	RunCmd      [][]string        `json:"runcmd,omitempty"` // at the end of the first boot
}

// Account is one user.
type Account struct {
	Name           string   `json:"name"`
	AuthorizedKeys []string `json:"ssh_authorized_keys"`
}

// File is a file of the guest.
type File struct {
	Path        string `json:"path"`
	Permissions string `json:"permissions"` // octal
	Encoding    string `json:"encoding"`    // b64
	Content     string `json:"content"`
}

// Data is the file's content, decoded.
func (f File) Data() ([]byte, error) { return base64.StdEncoding.DecodeString(f.Content) }

// Network is network-config, version 2.
type Network struct {
	Version   int                 `json:"version"`
	Ethernets map[string]Ethernet `json:"ethernets"` // by name
}

// Ethernet is one NIC, matched by its MAC.
type Ethernet struct {
	Match       Match    `json:"match"`
	SetName     string   `json:"set-name"`
	Addresses   []string `json:"addresses"` // with prefix length
	MTU         int      `json:"mtu"`
	Routes      []Route  `json:"routes,omitempty"`
	Nameservers *Servers `json:"nameservers,omitempty"`
}

// Match selects a NIC.
type Match struct {
	MAC string `json:"macaddress"`
}

// Route is a static route.
type Route struct {
	To  string `json:"to"`
	Via string `json:"via"`
}

// Servers are DNS servers.
type Servers struct {
	Addresses []string `json:"addresses"`
}

// Keys are the keys with which both ends of SSH authenticate each other.
type Keys struct {
	Authorized  string // a line of authorized_keys
	HostPrivate string // PEM
	HostPublic  string // a line of a .pub file
}

// New returns the seed of a Node: its name, root's key, its NICs and its files.
func New(lab labs.Name, m topology.Machine, keys Keys, files map[string]kubeadm.File) Seed {
	s := Seed{
		Meta: Meta{InstanceID: lab.Label() + "." + m.Name, Hostname: m.Name},
		User: User{
			Users:   []Account{{Name: "root", AuthorizedKeys: []string{keys.Authorized}}},
			SSHKeys: map[string]string{"ed25519_private": keys.HostPrivate, "ed25519_public": keys.HostPublic},
		},
		Network: Network{Version: 2, Ethernets: map[string]Ethernet{}},
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		s.User.WriteFiles = append(s.User.WriteFiles, File{Path: path, Permissions: fmt.Sprintf("%04o", f.Mode),
			Encoding: "b64", Content: base64.StdEncoding.EncodeToString(f.Data)})
	}
	for i, nic := range m.NICs {
		e := Ethernet{Match: Match{nic.MAC}, SetName: nic.Name, MTU: nic.MTU}
		for _, a := range nic.Addresses {
			e.Addresses = append(e.Addresses, a.String())
		}
		for _, r := range m.Routes {
			if nic.OnLink(r.Via) {
				e.Routes = append(e.Routes, Route{r.To.String(), r.Via.String()})
			}
		}
		if i == 0 && len(m.Nameservers) > 0 {
			e.Nameservers = &Servers{}
			for _, a := range m.Nameservers {
				e.Nameservers.Addresses = append(e.Nameservers.Addresses, a.String())
			}
		}
		s.Network.Ethernets[nic.Name] = e
	}
	return s
}

// The mount point and the label of netlab's second disk in a machine with a cloud image, and the file
// with the content for /etc/resolv.conf, which may be a link there.
const (
	Beside      = "/opt/netlab"
	BesideLabel = "netlab"
	ResolvConf  = "/etc/netlab/resolv.conf"
)

// OnImage is the seed for a machine that boots a cloud image: cloud-init's modules do their part, and
// netlab's program on the second disk the rest.
func (s Seed) OnImage(install ...string) Seed {
	s.User.WriteFiles = slices.Clone(s.User.WriteFiles)
	s.User.WriteFiles = slices.DeleteFunc(s.User.WriteFiles, func(f File) bool { return f.Path == "/etc/hostname" })
	for i, f := range s.User.WriteFiles {
		if f.Path == "/etc/resolv.conf" {
			s.User.WriteFiles[i].Path = ResolvConf
		}
	}
	script := fmt.Sprintf("mkdir -p %[1]s && mount LABEL=%[2]s %[1]s && exec %[1]s/usr/local/bin/netlab \"$@\"", Beside, BesideLabel)
	s.User.RunCmd = [][]string{append([]string{"sh", "-c", script, "sh"}, install...)}
	return s
}

// header is the first line of every cloud-config.
const header = "#cloud-config\n"

// Write writes the seed's disk image.
func (s Seed) Write(w io.Writer) (err error) {
	iso, err := iso9660.NewWriter()
	if err != nil {
		return fmt.Errorf("write a seed: %w", err)
	}
	defer func() { err = errors.Join(err, iso.Cleanup()) }()
	for name, value := range map[string]any{"meta-data": s.Meta, "user-data": s.User, "network-config": s.Network} {
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		if name == "user-data" {
			text = append([]byte(header), text...)
		}
		if err := iso.AddFile(bytes.NewReader(text), name); err != nil {
			return fmt.Errorf("add %s to a seed: %w", name, err)
		}
	}
	return iso.WriteTo(w, Label)
}

// Read reads a seed's disk. It returns an error for a disk that is not a seed.
func Read(disk io.ReaderAt) (s Seed, err error) {
	image, err := iso9660.OpenImage(disk)
	if err != nil {
		return s, err
	}
	if label, err := image.Label(); err != nil || !strings.EqualFold(strings.TrimSpace(label), Label) {
		return s, fmt.Errorf("the disk is labelled %q, not %s (%v)", label, Label, err)
	}
	root, err := image.RootDir()
	if err != nil {
		return s, err
	}
	files, err := root.GetChildren()
	if err != nil {
		return s, err
	}
	missing := map[string]any{"meta-data": &s.Meta, "user-data": &s.User, "network-config": &s.Network}
	for _, f := range files {
		name := strings.ToLower(strings.TrimSuffix(f.Name(), ";1"))
		into, wanted := missing[name]
		if !wanted {
			continue
		}
		text, err := io.ReadAll(f.Reader())
		if err != nil {
			return s, fmt.Errorf("read %s: %w", name, err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			return s, fmt.Errorf("read %s: %w", name, err)
		}
		delete(missing, name)
	}
	if len(missing) > 0 {
		return s, fmt.Errorf("the seed has no %s", strings.Join(slices.Sorted(maps.Keys(missing)), ", no "))
	}
	return s, nil
}
