// Command api is the write side: it answers carts and books over REST and WebSocket, and relays every change to Kafka.
// It starts, and stays up, whatever engine is away.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"cartstream/api/rest"
	"cartstream/schemas/traces"
)

func main() {
	if slices.Contains(os.Args[1:], "--help") || slices.Contains(os.Args[1:], "-h") {
		if err := help(os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	accept := slices.Equal(os.Args[1:], []string{"recover", "--accept-loss"})
	if slices.Equal(os.Args[1:], []string{"recover"}) {
		fmt.Fprintln(os.Stderr, "api: recover needs --accept-loss: it gives up what only Kafka could still tell; see api --help")
		os.Exit(2)
	}
	if len(os.Args) > 1 && !accept {
		fmt.Fprintf(os.Stderr, "api: %q is no command; see api --help\n", strings.Join(os.Args[1:], " "))
		os.Exit(2)
	}
	cfg, err := readConfig()
	if err != nil {
		fmt.Fprintf(os.Stderr, "api: %v\n", err)
		os.Exit(2)
	}
	defer runtime.KeepAlive(ballast())
	log := cfg.Log.Logger(os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if accept {
		err = acceptLoss(ctx, cfg, os.Stdout, log)
	} else {
		err = run(ctx, cfg, log)
	}
	if err != nil {
		log.Error("api ends", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains: first the callers, then what their changes still need, then the connections.
func run(ctx context.Context, cfg config, log *slog.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	defer listener.Close() //nolint:errcheck // the server closes it; this is for what fails before

	// --- Spans, sent last
	spans, err := traces.Open(ctx, cfg.Traces, "cartstream-api", log)
	if err != nil {
		return err
	}
	defer spans.Close()

	// --- Parts
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p, err := assemble(cfg, registry, spans, log)
	if err != nil {
		return err
	}
	defer p.close()

	// --- Work that outlives the callers
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	working, failed := errgroup.WithContext(work)
	for _, part := range p.background {
		working.Go(func() error { return part(work) })
	}

	// --- Callers
	handler, err := rest.New(p.rest)
	if err != nil {
		return errors.Join(err, stopAndWait(stopWork, working))
	}
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	server := rest.Server(handler, log)
	var callers errgroup.Group
	callers.Go(func() error { return p.gateway.Run(serving) })
	callers.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			stopServing()
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	if cfg.PprofAddr != "" {
		callers.Go(func() error { return profile(serving, cfg.PprofAddr) })
	}
	log.Info("api serves", "addr", listener.Addr().String())

	// --- Drain
	select {
	case <-serving.Done():
	case <-failed.Done():
		stopServing()
	}
	log.Info("api drains")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.DrainFor)
	defer cancel()
	err = server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // who still waits is cut off: what they asked for is finished or never began
	}
	return errors.Join(err, callers.Wait(), stopAndWait(stopWork, working))
}

func stopAndWait(stop context.CancelFunc, parts *errgroup.Group) error {
	stop()
	return parts.Wait()
}

// profile serves net/http/pprof on an address of its own, which nobody outside should reach.
func profile(ctx context.Context, addr string) error {
	server := &http.Server{Addr: addr, Handler: http.DefaultServeMux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("PPROF_ADDR: %w", err)
	}
	return nil
}
