// Package controller is the cloud controller of a lab's cloud, `netlab cloud-controller`: what a provider's
// cloud-controller-manager does for Services of type LoadBalancer. It watches Services and Nodes, allocates VIPs
// from its pools, configures the host's load balancer (package balancer), and writes the Services' status, with a
// leader lease, a finalizer and events as the controllers of k8s.io/cloud-provider have them. It forwards no
// packet and checks no Node itself.
package controller

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/internal/atomicfile"
)

// Verb is netlab's hidden verb that Main is behind.
const Verb = "cloud-controller"

// The lease as kube-controller-manager has it by default.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// filePause is how often the kubeconfig is looked at: it comes when the cluster is there, and changes when its
// token does.
const filePause = 500 * time.Millisecond

// Main runs until SIGTERM, or until its kubeconfig changes, and returns the exit code: 1 after an error, 2 for wrong usage.
func Main(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(Verb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "JSON file with the configuration")
	kubeconfig := flags.String("kubeconfig", "", "of the cluster; waited for")
	socket := flags.String("balancer", balancer.Socket, "unix socket of the load balancer's API")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var config Config
	if found, err := atomicfile.ReadJSON(*file, &config); err != nil || !found {
		fmt.Fprintf(stderr, "error: no configuration in file %q: %v\n", *file, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// It idles nearly always: speed is traded for memory.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	say := log.New(stderr, "", log.LstdFlags).Printf
	if err := run(ctx, config, *kubeconfig, balancer.AtSocket(*socket), say); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

// run waits for the kubeconfig, and leads whenever it has the lease, until the kubeconfig changes.
func run(ctx context.Context, config Config, path string, dial func(context.Context) (net.Conn, error), say func(string, ...any)) error {
	text, err := awaitFile(ctx, path, nil)
	if err != nil {
		return nil // stopped
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if _, err := awaitFile(ctx, path, text); err == nil {
			say("%s has changed", path)
			stop()
		}
	}()
	rest, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	rest.UserAgent = "netlab-cloud-controller"
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	c := &controller{client: client, config: config, say: say, said: map[string]string{},
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "cloud-controller-manager", Host: config.Host}),
		set:    func(ctx context.Context, t balancer.Target) error { return balancer.Set(ctx, dial, t) }}
	return c.lead(ctx)
}

// awaitFile returns the content of a file that is not empty once it differs from another.
func awaitFile(ctx context.Context, path string, from []byte) ([]byte, error) {
	for {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 && !bytes.Equal(text, from) {
			return text, nil
		}
		select {
		case <-time.After(filePause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lead takes the lease and works while it has it. Its name there is the host's: after a crash it is its own
// successor at once.
func (c *controller) lead(ctx context.Context) error {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, c.config.Namespace, c.config.Lease, c.client.CoreV1(), c.client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: c.config.Host})
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true, Name: c.config.Lease,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: c.work, OnStoppedLeading: func() {}},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errors.New("the leader lease was lost") // the next process takes it
	}
	return nil
}

// work makes passes: at once, when a Service or Node has changed, and again after an error.
func (c *controller) work(ctx context.Context) {
	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	watched := informers.NewSharedInformerFactory(c.client, 0)
	for _, informer := range []cache.SharedIndexInformer{watched.Core().V1().Services().Informer(), watched.Core().V1().Nodes().Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
		}); err != nil {
			c.say("%v", err)
		}
	}
	watched.Start(ctx.Done())
	defer watched.Shutdown()
	const shortest, longest = 500 * time.Millisecond, 30 * time.Second
	pause := shortest
	for {
		retry := make(<-chan time.Time)
		if err := c.pass(ctx); err != nil && ctx.Err() == nil {
			c.say("%v; again in %s", err, pause)
			retry = time.After(pause)
			pause = min(2*pause, longest)
		} else {
			pause = shortest
		}
		select {
		case <-wake:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}
