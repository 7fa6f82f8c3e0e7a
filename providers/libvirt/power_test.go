package libvirt

import (
	"strings"
	"testing"
)

// twoInterfaces is an excerpt of what libvirt 9.0 returns of a running domain.
const twoInterfaces = `<domain type='kvm' id='3'>
  <devices>
    <interface type='ethernet'>
      <mac address='02:00:ac:1e:00:0b'/>
      <target dev='nl-5a6f0a1b2c3d'/>
      <model type='virtio'/>
      <mtu size='1500'/>
      <alias name='net0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </interface>
    <interface type='ethernet'>
      <mac address='02:00:ac:1f:00:0b'/>
      <target dev='nl-77a6f0a1b2c3'/>
      <model type='virtio'/>
      <link state='down'/>
      <alias name='net1'/>
    </interface>
  </devices>
</domain>`

// The interface is the one with the MAC, whole, with one link state.
func TestWithLink(t *testing.T) {
	for _, c := range []struct {
		mac, alias string
		up         bool
		differs    bool
	}{
		{"02:00:AC:1E:00:0B", "net0", true, false},
		{"02:00:ac:1e:00:0b", "net0", false, true},
		{"02:00:ac:1f:00:0b", "net1", true, true},
		{"02:00:ac:1f:00:0b", "net1", false, false},
	} {
		device, differs, err := withLink(twoInterfaces, c.mac, c.up)
		state := map[bool]string{true: "<link state='up'/>", false: "<link state='down'/>"}[c.up]
		if err != nil || differs != c.differs || strings.Count(device, "<link") != 1 || !strings.Contains(device, state) ||
			!strings.Contains(device, "name='"+c.alias+"'") || strings.Count(device, "<mac") != 1 || !strings.HasPrefix(device, "<interface ") || !strings.HasSuffix(device, "</interface>") {
			t.Errorf("%+v: differs %t, %v\n%s", c, differs, err, device)
		}
	}
	if _, _, err := withLink(twoInterfaces, "02:00:00:00:00:01", true); err == nil {
		t.Error("an interface of an unknown MAC is found")
	}
}
