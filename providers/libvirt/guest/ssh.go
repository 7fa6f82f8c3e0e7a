package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	authorizedKeys = "/root/.ssh/authorized_keys"
	hostKey        = "/etc/ssh/ssh_host_ed25519_key"
	port           = 22
)

// streamLocal is OpenSSH's channel type for unix sockets (PROTOCOL, section 2.4).
const streamLocal = "direct-streamlocal@openssh.com"

// serve accepts SSH connections on every address until it fails.
func serve(log io.Writer) error {
	config, err := serverConfig(authorizedKeys, hostKey)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	return Serve(l, config, log)
}

// serverConfig allows root with one of the authorized keys.
func serverConfig(authorized, host string) (*ssh.ServerConfig, error) {
	pem, err := os.ReadFile(host)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	text, err := lines(authorized)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, line := range text {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", authorized, err)
		}
		keys = append(keys, key.Marshal())
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, k := range keys {
			if c.User() == "root" && bytes.Equal(k, key.Marshal()) {
				return nil, nil
			}
		}
		return nil, fmt.Errorf("permission denied for %s with this key", c.User())
	}}
	config.AddHostKey(signer)
	return config, nil
}

// Serve serves SSH connections: programs, terminals, and connections to unix sockets. Programs are
// killed when their client disconnects.
func Serve(l net.Listener, config *ssh.ServerConfig, log io.Writer) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			conn, channels, requests, err := ssh.NewServerConn(c, config)
			if err != nil {
				fmt.Fprintf(log, "%s: %v\n", c.RemoteAddr(), err)
				return
			}
			defer conn.Close()
			go ssh.DiscardRequests(requests)
			for ch := range channels {
				switch ch.ChannelType() {
				case "session":
					go session(ch)
				case streamLocal:
					go dial(ch)
				default:
					ch.Reject(ssh.UnknownChannelType, "sessions and unix sockets only")
				}
			}
		}()
	}
}

// dial connects a channel to a unix socket.
func dial(ch ssh.NewChannel) {
	var to struct {
		Path     string
		Reserved string
		Number   uint32
	}
	if err := ssh.Unmarshal(ch.ExtraData(), &to); err != nil {
		ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	socket, err := net.Dial("unix", to.Path)
	if err != nil {
		ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer socket.Close()
	channel, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	in := make(chan struct{})
	go func() {
		io.Copy(socket, channel)
		socket.(*net.UnixConn).CloseWrite()
		close(in)
	}()
	io.Copy(channel, socket)
	channel.CloseWrite()
	<-in
}

// session runs one program.
func session(ch ssh.NewChannel) {
	channel, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "KUBECONFIG=/etc/kubernetes/admin.conf"}
	var terminal *terminal
	started := false
	for r := range requests {
		ok := false
		switch r.Type {
		case "env":
			var v struct{ Name, Value string }
			if ok = ssh.Unmarshal(r.Payload, &v) == nil && v.Name == "TERM"; ok {
				env = append(env, v.Name+"="+v.Value)
			}
		case "pty-req":
			var want ptyRequest
			if ssh.Unmarshal(r.Payload, &want) == nil && terminal == nil {
				terminal, err = openTerminal(want.Columns, want.Rows)
				ok = err == nil
				env = append(env, "TERM="+want.Term)
			}
		case "window-change":
			var size struct{ Columns, Rows, Width, Height uint32 }
			if ok = ssh.Unmarshal(r.Payload, &size) == nil && terminal != nil; ok {
				terminal.resize(size.Columns, size.Rows)
			}
		case "exec", "shell":
			var program struct{ Line string }
			if r.Type == "shell" {
				program.Line = "exec bash -l"
			} else if ssh.Unmarshal(r.Payload, &program) != nil {
				break
			}
			if started {
				break
			}
			cmd := exec.Command("sh", "-c", program.Line)
			cmd.Dir, cmd.Env = "/", env
			end, err := start(cmd, channel, terminal)
			if err != nil {
				fmt.Fprintln(channel.Stderr(), err)
				break
			}
			ok, started = true, true
			defer end()
		}
		if r.WantReply {
			r.Reply(ok, nil)
		}
	}
}

type ptyRequest struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

// start runs a program on a channel. end kills it and whatever it started.
func start(cmd *exec.Cmd, channel ssh.Channel, t *terminal) (end func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var stdin io.WriteCloser
	var out []func()
	if t != nil {
		defer t.slave.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
		cmd.SysProcAttr.Setctty = true
		stdin = t.master
		out = append(out, func() { io.Copy(channel, t.master) })
	} else {
		if stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		// Explicit pipes: a program's children may keep them open after it has exited.
		for _, stream := range []struct {
			of *io.Writer
			to io.Writer
		}{{&cmd.Stdout, channel}, {&cmd.Stderr, channel.Stderr()}} {
			r, w, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			defer w.Close()
			*stream.of = w
			out = append(out, func() { io.Copy(stream.to, r); r.Close() })
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		io.Copy(stdin, channel)
		if t == nil {
			stdin.Close()
		}
	}()
	copied := make(chan struct{}, len(out))
	for _, f := range out {
		go func() { f(); copied <- struct{}{} }()
	}
	go func() {
		for range out {
			<-copied
		}
		status := struct{ Code uint32 }{exitCode(cmd.Wait())}
		channel.SendRequest("exit-status", false, ssh.Marshal(status))
		channel.Close()
	}()
	return func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }, nil
}

// exitCode follows the shell: 128 plus the signal number for a killed program.
func exitCode(err error) uint32 {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 255
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + uint32(status.Signal())
	}
	return uint32(exit.ExitCode())
}

// terminal is a pseudo-terminal.
type terminal struct{ master, slave *os.File }

func openTerminal(columns, rows uint32) (*terminal, error) {
	master, err := os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, err
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		master.Close()
		return nil, err
	}
	t := &terminal{master, slave}
	t.resize(columns, rows)
	return t, nil
}

func (t *terminal) resize(columns, rows uint32) {
	unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
}

func ioctl(fd int, request uintptr, argument []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&argument[0]))); errno != 0 {
		return errno
	}
	return nil
}
