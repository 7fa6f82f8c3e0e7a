package run

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// loader makes measurements: the agents of a lab, or a fake.
type loader interface {
	// Serve starts the server of a measurement; it listens when Serve returns.
	Serve(ctx context.Context, at observe.Station, s agent.LoadServer) error
	// Stop ends it.
	Stop(ctx context.Context, at observe.Station) (agent.Served, error)
	// Load runs the client; it returns when the measurement is over.
	Load(ctx context.Context, from observe.Station, l agent.Load) (agent.Loaded, error)
}

// sample is one measurement of a path.
type sample struct {
	agent.Loaded
	CPU agent.CPU // of client and server
}

// measured is a path that is being measured.
type measured struct {
	*attempt
	samples []sample
	rate    labs.Rate // udp: what is sent
}

// measurer makes one measurement at a time, with nothing else of netlab's running.
type measurer struct {
	snapshot observe.Snapshot
	on       loader
	say      func(string) // reports what is measured now
}

// burst is how many datagrams are sent to find the rate that a path sustains over UDP. Over a link with a
// rate they are those of a second, and enough to measure: all of them would take longer than a load may.
const (
	burst      = 20000
	leastBurst = 50
	datagram   = 1448 // bytes that iperf3 sends at the usual MTU
)

func burstOf(w observe.Snapshot, p checks.Row) int {
	worst, _ := checks.Crossed(w, p)
	if worst.Rate == 0 {
		return burst
	}
	return min(max(int(worst.Rate/8/datagram), leastBurst), burst)
}

// all measures the paths, throughput before latency, each as often as the lab file says. The
// repeats go round by round over all paths, so that changes on the machine in the meantime
// affect all of them alike.
func (g measurer) all(ctx context.Context, paths []checks.Row) []*attempt {
	rows := make([]*attempt, len(paths))
	todo := make([]*measured, len(paths))
	for i, p := range paths {
		rows[i] = &attempt{Judged: checks.Judged{Row: p}, command: measureCommand(g.snapshot, p)}
		todo[i] = &measured{attempt: rows[i]}
		if p.Skip != "" {
			rows[i].Finding, rows[i].settled = checks.Finding{Outcome: report.Skip, Reason: p.Skip}, true
			rows[i].command = ""
		}
	}
	repeats := max(g.snapshot.Plan.Verify.Throughput.Repeats, 1)
	for _, latency := range []bool{false, true} {
		for n := range repeats {
			for _, m := range todo {
				if m.settled || m.Row.IsLatency() != latency || ctx.Err() != nil {
					continue
				}
				g.say(fmt.Sprintf("%s (%d of %d)", m.Row.Way(), n+1, repeats))
				g.once(ctx, m)
			}
		}
	}
	for _, m := range todo {
		if !m.settled {
			m.Finding = judgeMeasured(g.snapshot, m.Row, m.samples, m.rate)
		}
	}
	compare(rows)
	return rows
}

// once adds a sample to a path. A failed one is retried immediately; a path that fails twice
// in a row is settled.
func (g measurer) once(ctx context.Context, m *measured) {
	start := time.Now()
	defer func() { m.took += time.Since(start) }()
	for try := range 2 {
		m.tries++
		s, err := g.sample(ctx, m)
		if err == nil && s.Outcome == agent.Reply {
			m.samples = append(m.samples, s)
			return
		}
		if try == 0 && ctx.Err() == nil {
			continue
		}
		m.settled = true
		switch {
		case err != nil:
			m.Finding = refusal(err)
		case s.Outcome == agent.Broken:
			m.Finding = checks.Finding{Outcome: report.Broken, Reason: "the measurement could not run: " + s.Error}
		default:
			m.Finding = checks.Finding{Outcome: report.Fail, Reason: fmt.Sprintf("measurement %d failed: %s", len(m.samples)+1, s.Error)}
		}
		m.Finding.Nodes = checks.NodesOf(g.snapshot, m.Row)
	}
}

func (g measurer) sample(ctx context.Context, m *measured) (sample, error) {
	l, from, to, err := loadOf(g.snapshot, m.Row)
	if err != nil {
		return sample{}, err
	}
	if l.Kind == agent.LoadUDP && m.rate == 0 {
		calm := l
		// Forward even for a reverse measurement: an iperf3 server that sends UDP does not stop
		// after a number of blocks.
		calm.Streams, calm.Blocks, calm.Reverse = 1, burstOf(g.snapshot, m.Row), false
		first, err := g.between(ctx, calm, serverKind(m.Row), from, to)
		if err != nil || first.Outcome != agent.Reply {
			return first, err
		}
		m.rate = agent.UDPRate(first.BitsPerSecond)
	}
	l.Rate = m.rate
	return g.between(ctx, l, serverKind(m.Row), from, to)
}

// between runs one Load, with its server for as long as that takes.
func (g measurer) between(ctx context.Context, l agent.Load, kind string, from, to observe.Station) (sample, error) {
	if err := g.on.Serve(ctx, to, agent.LoadServer{Kind: kind, Seconds: l.Seconds + 30}); err != nil {
		return sample{}, fmt.Errorf("the server of the measurement: %w", err)
	}
	loaded, err := g.on.Load(ctx, from, l)
	// Ctrl-C too stops the server immediately, and not when its time is up.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	served, stopErr := g.on.Stop(stopping, to)
	if err != nil {
		return sample{}, err
	}
	if stopErr != nil {
		served.CPU.Missing = stopErr.Error()
	}
	return sample{Loaded: loaded, CPU: bothEnds(loaded.CPU, served.CPU)}, nil
}

func bothEnds(client, server agent.CPU) agent.CPU {
	sum := agent.CPU{Seconds: client.Seconds + server.Seconds}
	if client.Missing != "" {
		sum.Missing = "client: " + client.Missing
	} else if server.Missing != "" {
		sum.Missing = "server: " + server.Missing
	}
	return sum
}

// Serve implements meter.
func (a *client) Serve(ctx context.Context, at observe.Station, s agent.LoadServer) error {
	return a.request(ctx, at, "POST", "/load-server", s, nil)
}

// Stop implements meter.
func (a *client) Stop(ctx context.Context, at observe.Station) (served agent.Served, err error) {
	return served, a.request(ctx, at, "DELETE", "/load-server", nil, &served)
}

// Load implements meter.
func (a *client) Load(ctx context.Context, from observe.Station, l agent.Load) (loaded agent.Loaded, err error) {
	return loaded, a.request(ctx, from, "POST", "/load", l, &loaded)
}
