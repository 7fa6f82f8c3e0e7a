package topology

import (
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

// The part of a plan for another machine has the Nodes there as local ones, and nothing else.
func TestAt(t *testing.T) {
	known := labstest.Known()
	known.Providers = []string{"vm"}
	lab := labs.Default(labs.MustName("x"), known)
	lab.Networks[0].Bridge = "br0"
	lab.Nodes[1].Count, lab.Nodes[1].Hypervisor = 0, "kvm2"
	p, err := Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	const uri = "vm://kvm2"
	if !p.LocalVMs() || !slices.Equal(p.Remotes(), []string{uri}) || !p.On("lan", uri) || p.On("wan", uri) {
		t.Errorf("here: %v, elsewhere: %v", p.LocalVMs(), p.Remotes())
	}
	if lan, wan := p.Networks[0], p.Networks[1]; lan.VNI <= 0 || lan.VNI >= 1<<24 || wan.VNI != 0 {
		t.Errorf("VNIs are %d and %d", lan.VNI, wan.VNI)
	}
	part := p.At(uri)
	if len(part.Networks) != 1 || part.Networks[0].Uplink != "" || part.Networks[0].VNI != p.Networks[0].VNI ||
		len(part.Machines) != 1 || part.Machines[0].Name != "w" || !part.Machines[0].OwnKernel || part.Machines[0].Remote != "" {
		t.Errorf("there: %+v", part)
	}
	vm := lab.Sections["vm"].(*labstest.VM)
	lab.Nodes[1].Hypervisor, vm.URI = "", uri
	if p, err = Build(lab); err != nil || p.LocalVMs() || len(p.At(uri).Machines) != 2 {
		t.Errorf("all elsewhere: here %v, there %d (%v)", p.LocalVMs(), len(p.At(uri).Machines), err)
	}
	lab.Provider = "netns"
	if p, err = Build(lab); err != nil || len(p.Remotes()) > 0 || p.Networks[0].VNI != 0 {
		t.Errorf("of another provider: %v (%v)", p.Remotes(), err)
	}
}

// Build sets the capabilities that follow from the lab file.
func TestCapabilities(t *testing.T) {
	known := labstest.Known()
	for name, c := range map[string]struct {
		provider, hypervisor string
		want                 Capabilities
	}{
		"namespaces":       {"netns", "", Capabilities{}},
		"containers":       {"kind", "", Capabilities{}},
		"virtual machines": {"vm", "", Capabilities{OwnKernel: true}},
		"on two machines":  {"vm", "kvm2", Capabilities{OwnKernel: true, Remote: true}},
	} {
		t.Run(name, func(t *testing.T) {
			lab := labs.Default(labs.MustName("x"), known)
			lab.Provider, lab.Nodes[1].Hypervisor = c.provider, c.hypervisor
			p, err := Build(lab)
			if err != nil || p.Capabilities != c.want {
				t.Errorf("got %+v (%v), want %+v", p.Capabilities, err, c.want)
			}
			for _, m := range p.Machines {
				if own := m.OwnKernel; own != (c.want.OwnKernel && m.Kind == KindNode) {
					t.Errorf("%s has its own kernel: %t", m.Name, own)
				}
			}
		})
	}
}

// A lab keeps the VNIs that it has; a network that is stretched now gets a random one that no other
// network has. Networks without one stay without, and a VNI does not count as a change of the file.
func TestVNIs(t *testing.T) {
	numbers := []uint32{0, 7 << 8, 8 << 8, 8 << 8, 9<<8 | 0xff}
	random := func() uint32 {
		n := numbers[0]
		numbers = numbers[1:]
		return n
	}
	vnis := func(p Plan) (all []int) {
		for _, n := range p.Networks {
			all = append(all, n.VNI)
		}
		return all
	}
	wanted := Plan{Networks: []Network{{Name: "a", VNI: 1}, {Name: "b"}, {Name: "c", VNI: 3}}}
	first := wanted.WithVNIs(Plan{Networks: []Network{{Name: "x", VNI: 7}}}, random)
	if is := vnis(first); !slices.Equal(is, []int{8, 0, 9}) {
		t.Errorf("of a new lab they are %v", is)
	}
	if is := vnis(wanted.WithVNIs(first, nil)); !slices.Equal(is, []int{8, 0, 9}) {
		t.Errorf("of a running lab they are %v", is)
	}
	if is := vnis(wanted); !slices.Equal(is, []int{1, 0, 3}) {
		t.Errorf("the plan of the file is changed: %v", is)
	}
	if c := Compare(first, wanted); !c.None() {
		t.Errorf("VNIs are changes: %+v", c)
	}
	wanted.Networks[1].VNI = 2
	if c := Compare(first, wanted); !slices.Equal(c.Apply, []string{"networks"}) {
		t.Errorf("a network that is stretched now: %+v", c)
	}
}
