package libvirt

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"strings"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/guest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
)

// prefix is the prefix of the names of all domains and pools; lab and Node are DNS labels, so that
// the dots are unambiguous.
const prefix = "netlab."

func domainName(lab labs.Name, node string) string { return poolName(lab) + "." + node }
func poolName(lab labs.Name) string                { return prefix + lab.Label() }

// labOf returns the lab of a domain's or pool's name.
func labOf(name string) (lab labs.Name, ours bool) {
	rest, ours := strings.CutPrefix(name, prefix)
	text, _, _ := strings.Cut(rest, ".")
	lab, err := labs.ParseName(text)
	return lab, ours && err == nil
}

// uuid returns the same UUID for a domain's name at each start (RFC 9562, version 8): libvirt
// restores saved memory only into a domain with the same UUID.
func uuid(name string) string {
	b := sha256.Sum256([]byte(name))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// tap returns the name of a NIC's tap while it is in the hypervisor's namespace, unique among all
// labs. It is hashed: IFNAMSIZ leaves 15 characters.
func tap(lab labs.Name, node, nic string) string {
	return fmt.Sprintf("nl-%x", sha256.Sum256([]byte(lab.Label()+"/"+node+"/"+nic)))[:15]
}

// The domain types: hardware virtualisation and emulation.
const (
	hardware = "kvm"
	emulated = "qemu"
)

// virtual is a machine with all settings of its domain.
type virtual struct {
	name                  string
	kind                  string // hardware or emulated
	size                  settings.Libvirt
	kernel, initrd, words string // words are added to the kernel's command line; without a kernel the first disk's boot loader is started
	disks                 []disk
	taps                  []string // one for each of nics
	nics                  []topology.NIC
	console               string // path of a file on the hypervisor
}

type disk struct {
	path, format string
	readOnly     bool
}

// kernelWords are for every machine: a console, and no features that a lab's machine does not
// require. Expedited RCU grace periods create and remove network namespaces faster.
const kernelWords = "console=ttyS0 loglevel=4 panic=-1 mitigations=off init_on_alloc=0 audit=0 nowatchdog net.ifnames=0 " +
	"random.trust_cpu=on cgroup_no_v1=all rcupdate.rcu_expedited=1"

// emulatedWords are added for an emulated processor. The kernel does not trust an emulated TSC and
// would read the time from a device, which takes a microsecond or more. Without rep_good it clears
// and copies memory by plain loops: an emulator splits repeated string instructions. Without
// high-resolution timers a program that sleeps for 20 µs, as the monitor thread of each active Go
// program does, sleeps until the next tick: timers and context switches took more time than the
// work. With large pages the emulator flushes its whole TLB when a small page is invalidated.
const emulatedWords = " tsc=reliable clearcpuid=rep_good highres=off transparent_hugepage=never " + guest.Emulated

// ownTime makes an emulated machine's clock advance by a nanosecond for each instruction while it is
// busy, and follow the host's clock while it is idle. Deadlines and periodic probes then behave as on
// a fast processor: an API server that takes more than 30 s for its first roles exits, and restarted
// forever without this. libvirt has no element for it (https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands).
func ownTime() []string { return []string{"-icount", "shift=0,sleep=on"} }

const qemuXML = "http://libvirt.org/schemas/domain/qemu/1.0"

// The used parts of libvirt's domain XML; https://libvirt.org/formatdomain.html.
type (
	domainXML struct {
		XMLName  xml.Name    `xml:"domain"`
		Type     string      `xml:"type,attr"`
		QEMU     string      `xml:"xmlns:qemu,attr,omitempty"`
		Name     string      `xml:"name"`
		UUID     string      `xml:"uuid"`
		Memory   inBytes     `xml:"memory"`
		VCPU     int         `xml:"vcpu"`
		OS       osXML       `xml:"os"`
		Features featuresXML `xml:"features"`
		CPU      cpuXML      `xml:"cpu"`
		Clock    clockXML    `xml:"clock"`
		PowerOff string      `xml:"on_poweroff"`
		Reboot   string      `xml:"on_reboot"`
		Crash    string      `xml:"on_crash"`
		Devices  devicesXML  `xml:"devices"`
		Args     *argsXML    `xml:"qemu:commandline"`
	}
	argsXML struct {
		Args []argXML `xml:"qemu:arg"`
	}
	argXML struct {
		Value string `xml:"value,attr"`
	}
	inBytes struct {
		Unit  string `xml:"unit,attr"`
		Value int64  `xml:",chardata"`
	}
	osXML struct {
		Type struct {
			Arch    string `xml:"arch,attr"`
			Machine string `xml:"machine,attr"`
			Value   string `xml:",chardata"`
		} `xml:"type"`
		Kernel  string   `xml:"kernel,omitempty"`
		Initrd  string   `xml:"initrd,omitempty"`
		Cmdline string   `xml:"cmdline,omitempty"`
		Boot    *bootXML `xml:"boot"`
	}
	bootXML struct {
		Device string `xml:"dev,attr"`
	}
	featuresXML struct {
		ACPI struct{} `xml:"acpi"`
		APIC struct{} `xml:"apic"`
	}
	cpuXML struct {
		Mode  string    `xml:"mode,attr"`
		Check string    `xml:"check,attr,omitempty"`
		Model *modelXML `xml:"model"`
	}
	modelXML struct {
		Fallback string `xml:"fallback,attr"`
		Name     string `xml:",chardata"`
	}
	clockXML struct {
		Offset string     `xml:"offset,attr"`
		Timers []timerXML `xml:"timer"`
	}
	timerXML struct {
		Name    string `xml:"name,attr"`
		Present string `xml:"present,attr"`
	}
	typed struct {
		Type  string `xml:"type,attr"`
		Model string `xml:"model,attr,omitempty"`
	}
	devicesXML struct {
		Disks       []diskXML      `xml:"disk"`
		Controllers []typed        `xml:"controller"`
		Interfaces  []interfaceXML `xml:"interface"`
		Serial      serialXML      `xml:"serial"`
		RNG         rngXML         `xml:"rng"`
		Balloon     struct {
			Model string `xml:"model,attr"`
		} `xml:"memballoon"`
	}
	diskXML struct {
		Type   string `xml:"type,attr"`
		Device string `xml:"device,attr"`
		Driver struct {
			Name  string `xml:"name,attr"`
			Type  string `xml:"type,attr"`
			Cache string `xml:"cache,attr"`
		} `xml:"driver"`
		Source struct {
			File string `xml:"file,attr"`
		} `xml:"source"`
		Target struct {
			Dev string `xml:"dev,attr"`
			Bus string `xml:"bus,attr"`
		} `xml:"target"`
		ReadOnly *struct{} `xml:"readonly"`
	}
	interfaceXML struct {
		Type string `xml:"type,attr"`
		MAC  struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		Model struct {
			Type string `xml:"type,attr"`
		} `xml:"model"`
		MTU struct {
			Size int `xml:"size,attr"`
		} `xml:"mtu"`
	}
	serialXML struct {
		Type   string `xml:"type,attr"`
		Source struct {
			Path   string `xml:"path,attr"`
			Append string `xml:"append,attr"`
		} `xml:"source"`
		Target struct {
			Port int `xml:"port,attr"`
		} `xml:"target"`
	}
	rngXML struct {
		Model   string `xml:"model,attr"`
		Backend struct {
			Model string `xml:"model,attr"`
			Path  string `xml:",chardata"`
		} `xml:"backend"`
	}
)

// xml returns the domain's XML. Its disks use the host's page cache and ignore flushes: a lab does
// not have to survive a crash of its host, and etcd syncs each write.
func (v virtual) xml() (string, error) {
	d := domainXML{Type: v.kind, Name: v.name, UUID: uuid(v.name), Memory: inBytes{"bytes", int64(v.size.Memory)}, VCPU: v.size.CPUs,
		PowerOff: "destroy", Reboot: "restart", Crash: "destroy"}
	d.OS.Type.Arch, d.OS.Type.Machine, d.OS.Type.Value = "x86_64", "pc", "hvm"
	d.OS.Kernel, d.OS.Initrd, d.OS.Cmdline = v.kernel, v.initrd, kernelWords
	d.CPU = cpuXML{Mode: "host-passthrough"}
	if v.kind == emulated {
		// No AVX: its registers are slow to emulate, and programs use it if it is available.
		d.CPU = cpuXML{Mode: "custom", Check: "none", Model: &modelXML{"allow", "Westmere"}}
		d.OS.Cmdline += emulatedWords
		d.QEMU, d.Args = qemuXML, &argsXML{}
		for _, a := range ownTime() {
			d.Args.Args = append(d.Args.Args, argXML{a})
		}
	}
	if v.words != "" {
		d.OS.Cmdline += " " + v.words
	}
	if v.kernel == "" {
		d.OS.Cmdline, d.OS.Boot = "", &bootXML{"hd"} // the image has its own command line
	}
	d.Clock = clockXML{"utc", []timerXML{{"hpet", "no"}}}
	for i, k := range v.disks {
		x := diskXML{Type: "file", Device: "disk"}
		x.Driver.Name, x.Driver.Type, x.Driver.Cache = "qemu", k.format, "unsafe"
		x.Source.File = k.path
		x.Target.Dev, x.Target.Bus = "vd"+string(rune('a'+i)), "virtio"
		if k.readOnly {
			x.ReadOnly = &struct{}{}
		}
		d.Devices.Disks = append(d.Devices.Disks, x)
	}
	d.Devices.Controllers = []typed{{"usb", "none"}}
	for i, nic := range v.nics {
		x := interfaceXML{Type: "ethernet"}
		x.MAC.Address, x.Target.Dev, x.Model.Type, x.MTU.Size = nic.MAC, v.taps[i], "virtio", nic.MTU
		d.Devices.Interfaces = append(d.Devices.Interfaces, x)
	}
	d.Devices.Serial.Type = "file"
	d.Devices.Serial.Source.Path, d.Devices.Serial.Source.Append = v.console, "on"
	d.Devices.RNG.Model = "virtio"
	d.Devices.RNG.Backend.Model, d.Devices.RNG.Backend.Path = "random", "/dev/urandom"
	d.Devices.Balloon.Model = "none"
	text, err := xml.MarshalIndent(d, "", "  ")
	return string(text) + "\n", err
}

type (
	poolXML struct {
		XMLName xml.Name `xml:"pool"`
		Type    string   `xml:"type,attr"`
		Name    string   `xml:"name"`
		Path    string   `xml:"target>path"`
	}
	volumeXML struct {
		XMLName  xml.Name    `xml:"volume"`
		Name     string      `xml:"name"`
		Capacity inBytes     `xml:"capacity"`
		Format   formatXML   `xml:"target>format"`
		Backing  *backingXML `xml:"backingStore"`
	}
	formatXML struct {
		Type string `xml:"type,attr"`
	}
	backingXML struct {
		Path   string    `xml:"path"`
		Format formatXML `xml:"format"`
	}
)

// write returns a value as XML.
func write(v any) (string, error) {
	text, err := xml.MarshalIndent(v, "", "  ")
	return string(text) + "\n", err
}
