package fabric

import (
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

func worse(t testing.TB, settings ...string) labs.Impairment {
	t.Helper()
	i, err := labs.ParseImpairment(settings)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// What is read of the queueing disciplines is what they were made for: else an impaired link would differ
// from its plan for ever.
func TestQdiscsAreReadAsMade(t *testing.T) {
	for _, text := range []string{"none", "rate=64kbit", "rate=9999992bit", "rate=10Mbit", "rate=100Gbit", "delay=1µs", "delay=5s jitter=4999999µs", "loss=0.001%",
		"loss=100%", "loss=33.333%", "delay=20ms jitter=3ms loss=0.5%", "delay=20ms loss=1% rate=1.5Gbit", "delay=5s rate=100Gbit"} {
		i := worse(t, strings.Fields(text)...)
		made := qdiscsOf(7, i)
		if got := impairmentOf(made); got != i {
			t.Errorf("%s is read as %s", text, got)
		}
		for at, d := range made {
			parent := uint32(netlink.HANDLE_ROOT)
			if at > 0 {
				parent = made[at-1].Attrs().Handle | 1
			}
			if a := d.Attrs(); a.LinkIndex != 7 || a.Parent != parent {
				t.Errorf("%s: %s is at %s", text, d.Type(), a)
			}
			switch d := d.(type) {
			case *netlink.Tbf:
				// The kernel drops what is larger than its bucket, which it keeps as 32 bits of nanoseconds.
				held := float64(d.Buffer) / netlink.TickInUsec() * 1e-6
				if bytes := held * float64(d.Rate); bytes < 9018 || held > 4 || float64(d.Limit) < bytes+9018 {
					t.Errorf("%s: the bucket holds %.0f bytes in %.3f s, the queue %d", text, bytes, held, d.Limit)
				}
			case *netlink.Netem:
				if d.Limit < 1 {
					t.Errorf("%s: netem holds %d packets", text, d.Limit)
				}
			}
		}
	}
	if got := impairmentOf([]netlink.Qdisc{&netlink.GenericQdisc{QdiscType: "noqueue"}, &netlink.Ingress{}}); !got.None() {
		t.Errorf("other queueing disciplines are read as %s", got)
	}
}

func TestImpairRequires(t *testing.T) {
	for text, want := range map[string]string{
		"none": "", "rate=1Mbit": "ifb sch_ingress cls_u32 act_mirred sch_tbf", "delay=1ms": "ifb sch_ingress cls_u32 act_mirred sch_netem delay",
		"loss=1% rate=1Mbit": "ifb sch_ingress cls_u32 act_mirred sch_tbf sch_netem loss",
	} {
		var got []string
		for _, k := range ImpairRequires(worse(t, strings.Fields(text)...)) {
			got = append(got, k.Module)
			if k.Module == "sch_netem" {
				got = append(got, k.Field)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s requires %q, want %s", text, got, want)
		}
	}
	err := lacking(unix.ENOENT, kernelU32, kernelMirred)
	if err.Error() != "the kernel has no CONFIG_NET_CLS_U32 or CONFIG_NET_ACT_MIRRED: no such file or directory" || !slices.Equal(hint.Of(err), []string{"modprobe cls_u32 act_mirred, or use a kernel that has it"}) {
		t.Errorf("%v; %q", err, hint.Of(err))
	}
	if err := lacking(unix.EPERM, kernelTBF); err != unix.EPERM || lacking(nil, kernelTBF) != nil {
		t.Errorf("another error becomes %v", err)
	}
}

// A link with a rate passes it in both directions, whatever the machine's own queueing disciplines are;
// Create makes every link what the plan says.
func TestImpair(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-imp")
	p.Networks[2].Impair = worse(t, "rate=50Mbit")
	create(t, p)
	noDiff(t, p)
	w1, _ := p.Machine("w1")
	client, _ := p.Machine("client")
	lan := w1.NICs[:1]
	impaired := func(want string) {
		t.Helper()
		all, err := Impaired(p)
		if got := all["w1"]["eth0"].String(); err != nil || got != want || all["router"]["eth1"].String() != "rate 50Mbit" || len(all["cp"]) > 0 {
			t.Errorf("impaired: %v (%v), want %s", all, err, want)
		}
	}
	differs := func(want ...string) {
		t.Helper()
		if diff, err := Diff(p); err != nil || !slices.Equal(diff, want) {
			t.Errorf("diff: %q (%v), want %q", diff, err, want)
		}
	}
	impaired("none")
	for range 2 {
		must(t, Impair(t.Context(), p.Lab, lan, worse(t, "rate=20Mbit")))
	}
	impaired("rate 20Mbit")
	differs("stop impairing the link of w1 eth0")
	if inside := run(t, "nsenter", "--net="+Path(p.Lab, "w1"), "tc", "qdisc", "show", "dev", "eth0"); strings.Contains(inside, "tbf") || strings.Contains(inside, "ingress") {
		t.Errorf("the machine has %s", inside)
	}
	to, from := flow(t, p, "cp", "w1"), flow(t, p, "w1", "cp")
	if free := flow(t, p, "cp", "w2"); to > 20e6 || to < 12e6 || from > 20e6 || from < 12e6 || free < 100e6 {
		t.Errorf("at 20 Mbit/s %.1f Mbit/s arrive at the machine and %.1f from it; past it %.1f", to/1e6, from/1e6, free/1e6)
	}
	must(t, Impair(t.Context(), p.Lab, lan, worse(t, "rate=2Mbit")))
	impaired("rate 2Mbit")

	// An impairment that the kernel lacks changes nothing.
	emulated := worse(t, "delay=100ms", "rate=5Mbit")
	if err := Impair(t.Context(), p.Lab, lan, emulated); err == nil {
		impaired("delay 100ms, rate 5Mbit")
		if rtt := ping(t, p, "cp", "172.30.0.12"); rtt < 200*time.Millisecond || rtt > 400*time.Millisecond {
			t.Errorf("a round trip with 100 ms there and back takes %s", rtt)
		}
	} else {
		impaired("rate 2Mbit")
		if !strings.Contains(err.Error(), "the kernel has no CONFIG_NET_SCH_NETEM") {
			t.Error(err)
		}
		t.Log("delay was not tried: ", err)
	}

	// Half of it is gone.
	must(t, Enter(p.Lab, "", func() error {
		return withSpace(func(s *space) error { return s.LinkDel(s.links[ifbOf(lan[0].Port)]) })
	}))
	differs("stop impairing the link of w1 eth0")
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	impaired("none")
	if free := flow(t, p, "cp", "w1"); free < 100e6 {
		t.Errorf("a link that is whole again has %.1f Mbit/s", free/1e6)
	}

	// A machine that is off leaves nothing; back, it has the link of the plan.
	p.Networks[0].Impair = worse(t, "rate=30Mbit")
	must(t, Create(t.Context(), p))
	if all, err := Impaired(p); err != nil || all["client"]["eth0"].String() != "rate 30Mbit" || all["router"]["eth0"].String() != "rate 30Mbit" {
		t.Errorf("impaired: %v (%v)", all, err)
	}
	must(t, Unplug(t.Context(), p.Lab, client))
	if links := run(t, "nsenter", "--net="+Path(p.Lab, ""), "ip", "-br", "link", "show", "type", "ifb"); strings.Contains(links, ifbOf(client.NICs[0].Port)) {
		t.Errorf("of a machine that is off there is %s", links)
	}
	if err := Impair(t.Context(), p.Lab, client.NICs, labs.Impairment{}); err == nil {
		t.Error("impaired a link of a machine that is off")
	}
	must(t, Restore(t.Context(), p, []string{"client"}))
	noDiff(t, p)
}

// flow sends TCP for a second and returns what arrives, in bit/s.
func flow(t *testing.T, p topology.Plan, from, to string) float64 {
	t.Helper()
	m, _ := p.Machine(to)
	l, err := Listen(t.Context(), p.Lab, to, "tcp4", "0.0.0.0:9")
	must(t, err)
	defer l.Close()
	got := make(chan float64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- 0
			return
		}
		defer c.Close()
		start := time.Now()
		n, _ := io.Copy(io.Discard, c)
		got <- float64(n) * 8 / time.Since(start).Seconds()
	}()
	c, err := Dial(t.Context(), p.Lab, from, "tcp4", net.JoinHostPort(m.Address().String(), "9"))
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(time.Second)))
	if _, err := io.Copy(c, endless{}); err == nil || !os.IsTimeout(err) {
		t.Errorf("sent to %s: %v", to, err)
	}
	c.Close()
	return <-got
}

// endless reads as zeros.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// ping is the time of a TCP handshake.
func ping(t *testing.T, p topology.Plan, from, address string) time.Duration {
	t.Helper()
	start := time.Now()
	c, err := Dial(t.Context(), p.Lab, from, "tcp4", net.JoinHostPort(address, "9"))
	if err == nil {
		c.Close()
	}
	return time.Since(start) // a refusal takes one round trip too
}
