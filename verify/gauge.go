package verify

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/agent"
)

// meter makes measurements: the agents of a lab, or a fake of them.
type meter interface {
	// Serve begins the far end of a measurement; it listens when Serve returns.
	Serve(ctx context.Context, at station, s agent.Servant) error
	// Stop ends it.
	Stop(ctx context.Context, at station) (agent.Served, error)
	// Load is the near end; it returns when the measurement is over.
	Load(ctx context.Context, from station, l agent.Load) (agent.Loaded, error)
}

// sample is one measurement of a path.
type sample struct {
	agent.Loaded
	CPU agent.CPU // of both ends
}

// measured is a path on its way to its figures.
type measured struct {
	*row
	samples []sample
	rate    labs.Rate // udp: what is sent
}

// gauge measures one thing at a time: nothing else that netlab does runs beside it.
type gauge struct {
	world world
	on    meter
	say   func(string) // what is measured now
}

// burst is how many datagrams find out what rate a path bears by UDP.
const burst = 20000

// all measures the paths, throughput before latency, each as often as the lab says. The
// repeats go round by round over all paths: what changes on the machine meanwhile falls
// on all of them alike.
func (g gauge) all(ctx context.Context, paths []Path) []*row {
	rows := make([]*row, len(paths))
	todo := make([]*measured, len(paths))
	for i, p := range paths {
		rows[i] = &row{path: p, command: g.world.measureCommand(p)}
		todo[i] = &measured{row: rows[i]}
		if p.Skip != "" {
			rows[i].finding, rows[i].settled = finding{Outcome: Skip, Reason: p.Skip}, true
			rows[i].command = ""
		}
	}
	repeats := max(g.world.plan.Verify.Throughput.Repeats, 1)
	for _, latency := range []bool{false, true} {
		for n := range repeats {
			for _, m := range todo {
				if m.settled || m.path.isLatency() != latency || ctx.Err() != nil {
					continue
				}
				g.say(fmt.Sprintf("%s (%d of %d)", m.path.way(), n+1, repeats))
				g.once(ctx, m)
			}
		}
	}
	for _, m := range todo {
		if !m.settled {
			m.finding = g.world.judgeMeasured(m.path, m.samples, m.rate)
		}
	}
	compare(rows)
	return rows
}

// once adds a sample to a path. One that fails is tried again at once; a path that fails
// twice in a row is settled.
func (g gauge) once(ctx context.Context, m *measured) {
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
			m.finding = refusal(err)
		case s.Outcome == agent.Broken:
			m.finding = finding{Outcome: Broken, Reason: "the measurement could not be made: " + s.Error}
		default:
			m.finding = finding{Outcome: Fail, Reason: fmt.Sprintf("measurement %d failed: %s", len(m.samples)+1, s.Error)}
		}
		m.finding.nodes = g.world.nodesOf(m.path)
	}
}

func (g gauge) sample(ctx context.Context, m *measured) (sample, error) {
	l, from, to, err := g.world.load(m.path)
	if err != nil {
		return sample{}, err
	}
	if l.Kind == agent.LoadUDP && m.rate == 0 {
		calm := l
		// Forward even for what goes in reverse: an iperf3 server that sends by UDP does not
		// end with a count of blocks.
		calm.Streams, calm.Blocks, calm.Reverse = 1, burst, false
		first, err := g.between(ctx, calm, m.path.servant(), from, to)
		if err != nil || first.Outcome != agent.Reply {
			return first, err
		}
		m.rate = agent.UDPRate(first.BitsPerSecond)
	}
	l.Rate = m.rate
	return g.between(ctx, l, m.path.servant(), from, to)
}

// between makes one Load, and its far end for as long as that takes.
func (g gauge) between(ctx context.Context, l agent.Load, servant string, from, to station) (sample, error) {
	if err := g.on.Serve(ctx, to, agent.Servant{Kind: servant, Seconds: l.Seconds + 30}); err != nil {
		return sample{}, fmt.Errorf("the server of the measurement: %w", err)
	}
	loaded, err := g.on.Load(ctx, from, l)
	// Ctrl-C too ends the server at once, and not when its time is up.
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
func (a *asker) Serve(ctx context.Context, at station, s agent.Servant) error {
	return a.request(ctx, at, "POST", "/servant", s, nil)
}

// Stop implements meter.
func (a *asker) Stop(ctx context.Context, at station) (served agent.Served, err error) {
	return served, a.request(ctx, at, "DELETE", "/servant", nil, &served)
}

// Load implements meter.
func (a *asker) Load(ctx context.Context, from station, l agent.Load) (loaded agent.Loaded, err error) {
	return loaded, a.request(ctx, from, "POST", "/load", l, &loaded)
}
