package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress shows named steps with their elapsed times: on a terminal a live line of the
// running steps and a line for each finished step, elsewhere plain lines only.
type progress struct {
	out   io.Writer
	live  bool // a terminal: the last line may be rewritten
	paint painter
	width int // columns of the live line

	mu      sync.Mutex
	began   time.Time
	running []*step
	stop    chan struct{}
}

type step struct {
	name  string
	doing string // what the step is doing now, if it says so
	began time.Time
}

// longStep is how often, without a terminal, the steps that still run are printed.
const longStep = 30 * time.Second

func newProgress(out io.Writer, live bool, width int, paint painter) *progress {
	p := &progress{out: out, live: live, width: max(width, 20), paint: paint, began: time.Now(), stop: make(chan struct{})}
	go p.tick()
	return p
}

// Step starts a step; the caller finishes it with its error.
func (p *progress) Step(name string) func(error) {
	done, _ := p.Changing(name)
	return done
}

func (p *progress) end(s *step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.running {
		if r == s {
			p.running = append(p.running[:i], p.running[i+1:]...)
			break
		}
	}
	mark := p.paint.good("✓")
	if err != nil {
		mark = p.paint.bad("✗")
	}
	p.line(fmt.Sprintf("%s %-44s %7s", mark, s.name, elapsed(time.Since(s.began))))
	p.redraw()
}

// Changing is a Step that can report what it is doing now: its live line shows that, its
// final line the step's name.
func (p *progress) Changing(name string) (done func(error), now func(string)) {
	s := &step{name: name, began: time.Now()}
	p.mu.Lock()
	p.running = append(p.running, s)
	p.redraw()
	p.mu.Unlock()
	var once sync.Once
	done = func(err error) { once.Do(func() { p.end(s, err) }) }
	return done, func(what string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		s.doing = what
		p.redraw()
	}
}

// Note prints a separate line between the steps.
func (p *progress) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line(text)
	p.redraw()
}

// Warn prints a note that may surprise the user.
func (p *progress) Warn(text string) { p.Note(p.paint.warn("note: ") + text) }

// Close clears the live line and returns the time since newProgress.
func (p *progress) Close() time.Duration {
	close(p.stop)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = nil
	p.redraw()
	return time.Since(p.began)
}

func (p *progress) tick() {
	every := time.Second
	if p.live {
		every = 200 * time.Millisecond
	}
	t := time.NewTicker(every)
	defer t.Stop()
	said := p.began
	for {
		select {
		case <-p.stop:
			return
		case now := <-t.C:
			p.mu.Lock()
			p.redraw()
			if !p.live && now.Sub(said) > longStep && len(p.running) > 0 {
				said = now
				fmt.Fprintf(p.out, "  … %s\n", p.summary(now))
			}
			p.mu.Unlock()
		}
	}
}

func (p *progress) line(text string) {
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintln(p.out, text)
}

func (p *progress) redraw() {
	if !p.live {
		return
	}
	text := []rune(p.summary(time.Now()))
	if len(text) > p.width-3 {
		text = append(text[:p.width-4], '…')
	}
	fmt.Fprint(p.out, "\r\x1b[K")
	if len(text) > 0 {
		fmt.Fprint(p.out, "… "+string(text))
	}
}

func (p *progress) summary(now time.Time) string {
	parts := make([]string, len(p.running))
	for i, s := range p.running {
		name := s.name
		if s.doing != "" {
			name = s.doing
		}
		parts[i] = name + " " + elapsed(now.Sub(s.began))
	}
	return strings.Join(parts, " · ")
}

// elapsed formats a duration: 0.4s, 12.3s, 4m05s.
func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
