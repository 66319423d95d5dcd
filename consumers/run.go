package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // on CONSUMERS_PPROF_ADDR alone: the ops server has a handler of its own
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/consumers/admin"
	"cartstream/consumers/deadletter"
	"cartstream/consumers/persist"
	"cartstream/consumers/reconcile"
	"cartstream/consumers/runner"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/token"
	"cartstream/schemas/traces"
)

// run runs the consumers, and the timers where this process is to, until ctx ends and then drains them: first they end
// what they have in hand, then the ops server, then the connections. It starts, and stays up, whatever engine is away.
func run(ctx context.Context, cfg config, chosen []entry, timed bool, log *slog.Logger) (err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Spans, sent last

	spans, err := traces.Open(ctx, cfg.Traces, "cartstream-consumers", log)
	if err != nil {
		return err
	}
	defer spans.Close()

	// Connections

	e, err := connect(cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()

	e.stored = persist.New(e.mongo, e.carts, registry, log.With("part", "persist"))
	registry.MustRegister(admin.Watch(e.carts))
	if e.mailer, err = newMailer(cfg, e, registry, log); err != nil {
		return err
	}
	e.reconciler = reconcile.New(reconcile.Config{
		Carts: e.carts, Facts: e.carts, Database: e.mongo, Redis: e.redis, Sync: e.sync, Log: log.With("part", "reconcile"), Registerer: registry,
	})

	// Consumers

	kafka, err := cfg.Kafka.Options()
	if err != nil {
		return err
	}
	letters := deadletter.NewIndex(e.mongo)
	e.lot = deadletter.New(deadletter.Config{
		Index: letters, Database: e.mongo, Carts: e.carts, Kafka: kafka, Groups: names(table),
		Registerer: registry, Log: log.With("consumer", deadletter.Group),
	})
	var consumers []runner.Runnable
	for _, c := range chosen {
		consumers = append(consumers, c.declare(e, registry, log.With("consumer", c.name)))
	}
	parker, closeParker, err := newParker(cfg, kafka, letters, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeParker()) }()
	r, err := runner.New(runner.Config{
		Kafka: kafka, DeadLetters: schemas.CartDLQ, Parker: parker, Logger: log, Registerer: registry, Tracer: spans.Tracer(),
	}, consumers...)
	if err != nil {
		return err
	}
	e.lot.ReplayWith(r)
	if e.mailer != nil {
		e.mailer.ParkWith(r)
	}

	// Timers

	clock, err := newTimer(cfg, e, timed, registry, log)
	if err != nil {
		return err
	}

	// Ops server

	pauses := admin.NewPauses(e.redis, switches{r, e.beside}, names(table), names(chosen), registry, log)
	tokens, err := token.New(cfg.JWT, log)
	if err != nil {
		return err
	}
	defer tokens.Close()
	calls := admin.New(tokens, log, slices.Concat(
		admin.CartRoutes(e.carts, e.mongo.Collection(persist.Collection, options.Collection().SetReadPreference(readpref.Primary())), e.equal),
		admin.ShardRoutes(e.carts),
		pauses.Routes(),
		e.lot.Routes(),
		e.reconciler.Routes(runs{clock}),
	)...)
	o, err := listen(ctx, cfg.OpsAddr, e, calls, registry, log)
	if err != nil {
		return err
	}

	// Everything runs

	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.Run(serving) })
	g.Go(func() error { return parker.Run(serving) })
	if cfg.PprofAddr != "" {
		g.Go(func() error { return profile(serving, cfg.PprofAddr) })
	}
	g.Go(func() error { return agree(ctx, log, e.carts.CheckShards) })
	g.Go(func() error { return e.carts.Run(ctx) })
	g.Go(func() error {
		defer stopServing()
		context.AfterFunc(ctx, o.drain)
		topics := func(ctx context.Context) error { return cfg.Kafka.EnsureTopics(ctx, e.kafka) }
		if err := agree(ctx, log, topics); err != nil || ctx.Err() != nil {
			return err
		}
		pauses.Settle(ctx)
		g.Go(func() error { return pauses.Run(ctx) })
		g.Go(func() error { return e.lot.Run(ctx) })
		g.Go(func() error { return e.reconciler.Run(ctx) })
		for _, b := range e.beside {
			g.Go(func() error { return b.Run(ctx) })
		}
		log.Info("consuming", "consumers", names(chosen), "timers", timed)
		if err := r.Run(ctx); err != nil {
			return err
		}
		<-ctx.Done() // where there are timers alone, nothing else waits for that
		return nil
	})
	if timed {
		g.Go(func() error { return clock.Run(ctx) })
	}
	return g.Wait()
}

// profile serves net/http/pprof on an address of its own, which nobody outside should reach.
func profile(ctx context.Context, addr string) error {
	server := &http.Server{Addr: addr, Handler: http.DefaultServeMux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("CONSUMERS_PPROF_ADDR: %w", err)
	}
	return nil
}

func names(chosen []entry) (names []string) {
	for _, e := range chosen {
		names = append(names, e.name)
	}
	return names
}

// agree returns once ask did, or nil when ctx ends first. An error is one that no waiting can cure: what is stored was
// written under other settings.
func agree(ctx context.Context, log *slog.Logger, ask func(context.Context) error) error {
	for waited := 0; ; waited++ {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := ask(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, env.ErrPartitions), errors.Is(err, cart.ErrShards):
			return fmt.Errorf("what is stored: %w", err)
		case ctx.Err() != nil:
			return nil
		case waited%20 == 0: // twice a minute at most
			log.Warn("waiting for an engine", "error", err)
		}
		select {
		case <-time.After(500*time.Millisecond + rand.N(time.Second)): //nolint:gosec // jitter
		case <-ctx.Done():
			return nil
		}
	}
}
