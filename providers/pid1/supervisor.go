package pid1

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A service that exits is restarted after restartDelay. The delay is doubled each time that it ran
// for less than steady, up to longestDelay, so that a service that fails immediately does not use
// up a CPU.
const (
	restartDelay = time.Second
	longestDelay = 16 * time.Second
	steady       = 10 * time.Second
)

// supervisor keeps services running. Only the goroutine of its event loop accesses it.
type supervisor struct {
	log    io.Writer
	units  map[string]*unit
	order  []string // of the services; the last is stopped first
	start  chan turn
	kill   chan int
	dead   chan death
	status string // file that the status is written to; "" for none
	hash   string // of the last loaded services file
}

// unit is a service and its process.
type unit struct {
	Service
	pid     int // 0 while it is not running
	began   time.Time
	delay   time.Duration // before the next start
	starts  int
	ended   string // how the last process exited
	turn    int    // number of the pending start; earlier ones are ignored
	changed bool   // it is being stopped because its definition changed
	removed bool   // it is being stopped because it is no longer in the file
}

// turn is a pending start.
type turn struct {
	name   string
	number int
}

type death struct {
	pid    int
	status unix.WaitStatus
}

func newSupervisor(log io.Writer) *supervisor {
	return &supervisor{log: log, units: map[string]*unit{}, start: make(chan turn, 16), kill: make(chan int, 16), dead: make(chan death, 64)}
}

// run starts the services and keeps them running until a signal to stop.
func (s *supervisor) run(services []Service, reload <-chan os.Signal) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	// Registered before anything is started: the exit of a child that is short-lived is not missed.
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	go reap(child, s.dead)
	s.adopt(services)
	old := time.NewTicker(rotateEvery)
	defer old.Stop()
	for {
		s.report()
		select {
		case t := <-s.start:
			if u := s.units[t.name]; u != nil && u.turn == t.number && u.pid == 0 {
				s.launch(u)
			}
		case d := <-s.dead:
			s.ended(d)
		case pid := <-s.kill:
			for _, u := range s.units {
				if u.pid == pid {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		case <-old.C:
			s.rotate()
		case <-reload:
			services, hash, err := readServices()
			if err != nil {
				s.say("reload: %v", err)
				continue
			}
			s.hash = hash
			s.adopt(services)
		case <-stop:
			go func() {
				for range s.dead { // reap continues, and nothing is restarted
				}
			}()
			s.shutDown()
			return nil
		}
	}
}

// adopt applies a list of services: new ones are started, changed ones restarted, missing ones
// stopped, and the others are left alone.
func (s *supervisor) adopt(services []Service) {
	wanted := map[string]bool{}
	s.order = nil
	for _, service := range services {
		wanted[service.Name] = true
		s.order = append(s.order, service.Name)
		u := s.units[service.Name]
		switch {
		case u == nil:
			s.units[service.Name] = &unit{Service: service}
			s.begin(s.units[service.Name], 0)
		case !u.removed && same(u.Service, service):
		default:
			u.Service, u.removed, u.delay, u.ended, u.starts = service, false, 0, "", 0
			if u.changed = u.pid != 0; u.changed {
				s.end(u)
			} else {
				s.begin(u, 0)
			}
		}
	}
	for name, u := range s.units {
		if wanted[name] {
			continue
		}
		if u.removed = true; u.pid == 0 {
			delete(s.units, name)
			continue
		}
		s.end(u)
	}
}

// begin starts a unit after a delay and after its After and AfterURL.
func (s *supervisor) begin(u *unit, delay time.Duration) {
	u.turn++
	t, service := turn{u.Name, u.turn}, u.Service
	go func() {
		time.Sleep(delay)
		await(service.After)
		awaitURL(service.AfterURL, service.CA)
		s.start <- t
	}()
}

// end sends SIGTERM to a unit's process, and has it killed if it exceeds the limit.
func (s *supervisor) end(u *unit) {
	pid := u.pid
	unix.Kill(pid, unix.SIGTERM)
	time.AfterFunc(serviceLimit, func() { s.kill <- pid })
}

// ended handles the exit of a child; one that is not a service was an orphan.
func (s *supervisor) ended(d death) {
	for name, u := range s.units {
		if u.pid != d.pid {
			continue
		}
		u.pid = 0
		switch {
		case u.removed:
			delete(s.units, name)
		case u.changed:
			u.changed = false
			s.begin(u, 0)
		default:
			u.ended = how(d.status)
			s.say("%s (pid %d) exited: %s; restarting it", u.Name, d.pid, u.ended)
			s.again(u)
		}
	}
}

// again restarts a unit that exited or could not be started.
func (s *supervisor) again(u *unit) {
	if u.delay *= 2; u.delay == 0 || time.Since(u.began) >= steady {
		u.delay = restartDelay
	}
	u.delay = min(u.delay, longestDelay)
	s.begin(u, u.delay)
}

func (s *supervisor) launch(u *unit) {
	u.began = time.Now()
	u.starts++
	pid, err := launch(u.Service)
	if err != nil {
		u.ended = err.Error()
		s.say("start %s: %v", u.Name, err)
		s.again(u)
		return
	}
	u.pid = pid
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.log, "%s %s\n", time.Now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

func launch(s Service) (int, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	p, err := os.StartProcess(s.Argv[0], s.Argv, &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), s.Env...), Files: []*os.File{nil, out, out},
	})
	if err != nil {
		return 0, err
	}
	pid := p.Pid // Release forgets it
	if s.Cgroup {
		if err := account(s.Name, pid); err != nil {
			fmt.Fprintln(out, "netlab init:", err) // the service runs without accounting
		}
	}
	// The handle is released: reap waits for all children.
	return pid, p.Release()
}

// reap waits for every child, including adopted ones such as containerd's shims.
func reap(child <-chan os.Signal, dead chan<- death) {
	for range child {
		for {
			var d death
			var err error
			d.pid, err = unix.Wait4(-1, &d.status, unix.WNOHANG, nil)
			if err != nil || d.pid <= 0 {
				break
			}
			dead <- d
		}
	}
}
