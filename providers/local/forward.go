package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Forward forwards connections from a listener on this machine to an address inside a machine of
// the lab, until the listener fails. It serves the loopback port of the kubeconfig; the lab has no
// route for it.
func Forward(ctx context.Context, listener net.Listener, lab labs.Name, machine, address string) error {
	for {
		outside, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer outside.Close()
			inside, err := fabric.Dial(ctx, lab, machine, "tcp", address)
			if err != nil {
				return // the client sees its connection closed, as from a dead server
			}
			defer inside.Close()
			done := make(chan struct{}, 2)
			carry := func(to, from net.Conn) {
				io.Copy(to, from)
				if half, ok := to.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				done <- struct{}{}
			}
			go carry(inside, outside)
			go carry(outside, inside)
			<-done
			<-done
		}()
	}
}

// ForwardMain is the hidden verb that StartForward runs: its listener is passed as file
// descriptor 3.
func ForwardMain(ctx context.Context, name, machine, address string) error {
	lab, err := labs.ParseName(name)
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("netlab forward is started by netlab up, with a listener: %w", err)
	}
	return Forward(ctx, listener, lab, machine, address)
}

// StartForward starts the forwarder as a separate process that outlives this one, and returns its
// loopback port: the requested one, if it is free.
func StartForward(plan topology.Plan, dir, self string, port int) (int, error) {
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if errors.Is(err, syscall.EADDRINUSE) && port != 0 {
		listener, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return 0, fmt.Errorf("listen for the API server: %w", err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	log, err := os.OpenFile(filepath.Join(dir, "logs", "forward.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	api, from := plan.Kubernetes.API, plan.APIEndpoint()
	if from.OwnKernel {
		from.Name = "" // without a local namespace: dial from the fabric
	}
	cmd := exec.Command(self, "forward", plan.Lab.Label(), from.Name, api.String())
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.Env = append(os.Environ(), LabelKey+"="+plan.Lab.Label())
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := Enrol(plan.Lab, cmd); err != nil {
		return 0, fmt.Errorf("start the API server's forwarder: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the API server's forwarder: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, cmd.Process.Release()
}

// Forwarding reports whether a forwarder of the lab accepts connections on the port.
func Forwarding(lab labs.Name, port int) bool {
	for _, pid := range Processes(lab) {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if fields := SplitZero(args); len(fields) > 1 && fields[1] == "forward" {
			c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				c.Close()
			}
			return err == nil
		}
	}
	return false
}
