package libvirt

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"strings"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/guest"
	"netlab.dev/netlab/topology"
)

// prefix begins the names of all domains and pools; lab and Node are DNS labels, so that
// the dots are unambiguous.
const prefix = "netlab."

func domainName(lab labs.Name, node string) string { return poolName(lab) + "." + node }
func poolName(lab labs.Name) string                { return prefix + lab.Label() }

// labOf gives the lab of a domain's or pool's name.
func labOf(name string) (lab labs.Name, ours bool) {
	rest, ours := strings.CutPrefix(name, prefix)
	text, _, _ := strings.Cut(rest, ".")
	lab, err := labs.ParseName(text)
	return lab, ours && err == nil
}

// uuid gives a domain of a name the same UUID at each start (RFC 9562, version 8): saved
// memory goes only into the domain that it is of.
func uuid(name string) string {
	b := sha256.Sum256([]byte(name))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// tap names the tap of a NIC while it is in the hypervisor's namespace, among those of
// other labs. It is hashed: IFNAMSIZ leaves 15 characters.
func tap(lab labs.Name, node, nic string) string {
	return fmt.Sprintf("nl-%x", sha256.Sum256([]byte(lab.Label()+"/"+node+"/"+nic)))[:15]
}

// virtualisations are the ways to run a machine, as a domain's type names them.
const (
	hardware = "kvm"
	emulated = "qemu"
)

// virtual is a machine with all that its domain needs to be written down.
type virtual struct {
	name                  string
	kind                  string // hardware or emulated
	size                  labs.Libvirt
	kernel, initrd, words string // words are added to the kernel's command line; no kernel: the first disk's boot loader starts
	disks                 []disk
	taps                  []string // one for each of nics
	nics                  []topology.NIC
	console               string // path of a file on the hypervisor
}

type disk struct {
	path, format string
	readOnly     bool
}

// kernelWords are for every machine: a console, and no work that a lab's machine does not
// need. Expedited grace periods make and remove network namespaces sooner.
const kernelWords = "console=ttyS0 loglevel=4 panic=-1 mitigations=off init_on_alloc=0 audit=0 nowatchdog net.ifnames=0 " +
	"random.trust_cpu=on cgroup_no_v1=all rcupdate.rcu_expedited=1"

// emulatedWords come with them where the processor is emulated. The kernel does not trust an
// emulated TSC, and would read the time from a device, which costs each reader a microsecond
// and more. Without rep_good it clears and copies memory by plain loops: an emulator takes
// repeated string instructions apart. Without high resolution a program that asks to sleep
// for 20 µs, as each Go program's monitor does while anything of it runs, sleeps until the next
// tick: the timer and the switches were seen to take more than the work. Large pages make the
// emulator forget all it knows of an address space when one small page of it goes.
const emulatedWords = " tsc=reliable clearcpuid=rep_good highres=off transparent_hugepage=never " + guest.Emulated

// ownTime has an emulated machine's clock count its instructions, each for a nanosecond, while
// it works, and stand at ours while it does nothing. What waits for a deadline, or asks
// each second how things are, is then no worse off than on a processor that is fast: an API server
// that takes 30 s for its first roles ends, and was seen to end for ever. libvirt has no
// element for it (https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands).
func ownTime() []string { return []string{"-icount", "shift=0,sleep=on"} }

const qemuXML = "http://libvirt.org/schemas/domain/qemu/1.0"

// The parts of libvirt's domain XML that are used; https://libvirt.org/formatdomain.html.
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

// xml writes the domain. Its disks keep nothing back from the host's page cache and do not
// wait for the platter: a lab does not outlive its host's crash, and etcd waits for each
// of its writes.
func (v virtual) xml() (string, error) {
	d := domainXML{Type: v.kind, Name: v.name, UUID: uuid(v.name), Memory: inBytes{"bytes", int64(v.size.Memory)}, VCPU: v.size.CPUs,
		PowerOff: "destroy", Reboot: "restart", Crash: "destroy"}
	d.OS.Type.Arch, d.OS.Type.Machine, d.OS.Type.Value = "x86_64", "pc", "hvm"
	d.OS.Kernel, d.OS.Initrd, d.OS.Cmdline = v.kernel, v.initrd, kernelWords
	d.CPU = cpuXML{Mode: "host-passthrough"}
	if v.kind == emulated {
		// No AVX: its registers are slow to emulate, and programs take what they find.
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
		d.OS.Cmdline, d.OS.Boot = "", &bootXML{"hd"} // its own command line is the image's business
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

// write gives a value's XML.
func write(v any) (string, error) {
	text, err := xml.MarshalIndent(v, "", "  ")
	return string(text) + "\n", err
}
