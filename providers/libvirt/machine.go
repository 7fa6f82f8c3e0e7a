package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
)

// Verb is netlab's hidden verb that Machine.Command runs.
const Verb = "in-vm"

// Machine is a running Node in a virtual machine. It implements providers.Machine.
type Machine struct {
	session *session
	self    string
	logs    string
}

// Command runs a program over SSH. It is a netlab process on this machine; the program is
// killed with it.
func (m Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	s := m.session
	cmd := exec.CommandContext(ctx, m.self, append([]string{Verb, s.lab.Label(), s.dir, s.address.String(), "--"}, argv...)...)
	cmd.Env = append(os.Environ(), local.LabelKey+"="+s.lab.Label())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Dial connects to a unix socket of the machine, over one SSH connection for all.
func (m Machine) Dial(ctx context.Context, path string) (net.Conn, error) {
	return m.session.unix(ctx, path)
}

// Logs is the directory with the console's log.
func (m Machine) Logs() string { return m.logs }

// CommandMain is the process of Machine.Command: it runs a program in a machine with this process's
// streams and returns its exit status, or 255, as ssh does, if that is unknown.
// args are lab, state directory, address, "--" and the program.
func CommandMain(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	code, err := runIn(args, stdin, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 255
	}
	return code
}

func runIn(args []string, stdin *os.File, stdout, stderr io.Writer) (int, error) {
	if len(args) < 5 || args[3] != "--" {
		return 0, fmt.Errorf("usage: netlab %s LAB DIR ADDRESS -- COMMAND [ARG...]", Verb)
	}
	address, err := netip.ParseAddr(args[2])
	if err != nil {
		return 0, err
	}
	lab, err := labs.ParseName(args[0])
	if err != nil {
		return 0, err
	}
	client, err := dial(context.Background(), lab, args[1], address)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Stdin, s.Stdout, s.Stderr = stdin, stdout, stderr
	if out, ok := stdout.(*os.File); ok && term.IsTerminal(int(stdin.Fd())) && term.IsTerminal(int(out.Fd())) {
		restore, err := onTerminal(s, stdin, out)
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	err = s.Run(shell.Join(args[4:]...))
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// onTerminal allocates a terminal for the program and puts the local one into raw mode.
func onTerminal(s *ssh.Session, in, out *os.File) (restore func(), err error) {
	columns, rows, err := term.GetSize(int(out.Fd()))
	if err != nil {
		return nil, err
	}
	if err := s.RequestPty(os.Getenv("TERM"), rows, columns, ssh.TerminalModes{}); err != nil {
		return nil, err
	}
	was, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for range resized {
			if columns, rows, err := term.GetSize(int(out.Fd())); err == nil {
				s.WindowChange(rows, columns)
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		term.Restore(int(in.Fd()), was)
	}, nil
}

// fetchLimit bounds the copying of a machine's logs.
const fetchLimit = 20 * time.Second

// FetchLogs implements providers.LogFetcher; the console log is already on this machine.
func (m Machine) FetchLogs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	var errs []error
	for _, name := range []string{"containerd.log", "kubelet.log"} {
		text, err := command.Run(m.Command(ctx, "cat", "/var/log/"+name))
		if err == nil {
			err = os.WriteFile(filepath.Join(m.logs, name), text, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
