package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// probeFor bounds how long an engine is waited for; probeEvery is how long what was found is told again, so that
	// whoever asks for readiness can't keep the engines busy.
	probeFor   = time.Second
	probeEvery = 500 * time.Millisecond
)

// ops serves health, readiness, metrics and the ops API.
type ops struct {
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
	probes   map[string]probe
	draining atomic.Bool

	mu    sync.Mutex // held while the engines are asked
	found readiness
	asked time.Time
}

// readiness is the body of /readyz, in the shape of the API's.
type readiness struct {
	Status  string            `json:"status"`
	Engines map[string]engine `json:"engines"`
}

type engine struct {
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// listen takes the address, so that a taken port is known at once.
func listen(ctx context.Context, addr string, e *engines, admin http.Handler, registry *prometheus.Registry, log *slog.Logger) (*ops, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("OPS_ADDR: %w", err)
	}
	o := &ops{listener: listener, log: log, probes: e.probes()}
	registry.MustRegister(&engineStates{o.ask})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", o.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	o.server = &http.Server{
		Handler: apart(mux, admin), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return o, nil
}

// apart serves probes and metrics by mux, and all else by admin, which answers every path.
func apart(mux, admin http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			mux.ServeHTTP(w, r)
		default:
			admin.ServeHTTP(w, r)
		}
	})
}

// Run serves until ctx ends, and then what has begun, for a second at most.
func (o *ops) Run(ctx context.Context) error {
	o.log.Info("serving health, readiness, metrics and the ops API", "addr", o.listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- o.server.Serve(o.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("ops server: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := o.server.Shutdown(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ops server: %w", err)
	}
	return nil
}

// drain says from now on that this process takes no more work.
func (o *ops) drain() { o.draining.Store(true) }

// ready answers 503 where no consumer can do anything: Kafka is away, or the process is draining. Else 200.
func (o *ops) ready(w http.ResponseWriter, r *http.Request) {
	found := o.ask(context.WithoutCancel(r.Context()))
	if o.draining.Load() {
		found.Status = "unavailable"
	}
	status := http.StatusOK
	if found.Status == "unavailable" {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, found)
}

// ask asks all engines at once, or tells what was found a moment ago.
func (o *ops) ask(ctx context.Context) readiness {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.asked) < probeEvery {
		return o.found
	}
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	type state struct {
		name, notice string
		err          error
	}
	states := make(chan state, len(o.probes))
	for name, ask := range o.probes {
		go func() {
			notice, err := ask(ctx)
			states <- state{name, notice, err}
		}()
	}
	found := readiness{Status: "ready", Engines: map[string]engine{}}
	for name := range o.probes {
		found.Engines[name] = engine{State: "down", Detail: "does not answer"}
	}
	for range o.probes {
		select {
		case s := <-states:
			if s.err == nil {
				found.Engines[s.name] = engine{State: "up", Detail: s.notice}
			} else {
				o.log.Debug("engine not ready", "engine", s.name, "error", s.err)
			}
		case <-ctx.Done(): // a client that doesn't keep to it is not waited for
		}
	}
	for _, e := range found.Engines {
		if e.State == "down" {
			found.Status = "degraded"
		}
	}
	if found.Engines["kafka"].State == "down" {
		found.Status = "unavailable"
	}
	o.found, o.asked = found, time.Now()
	return found
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked may be gone
}
