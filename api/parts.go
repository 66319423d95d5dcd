package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	_ "net/http/pprof" //nolint:gosec // on PPROF_ADDR alone: the API has a handler of its own
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/live"
	"cartstream/api/recovery"
	"cartstream/api/relay"
	"cartstream/api/rest"
	"cartstream/schemas"
	"cartstream/schemas/link"
	"cartstream/schemas/optout"
	"cartstream/schemas/token"
	"cartstream/schemas/traces"
)

// persistGroup is the consumer group that writes carts to MongoDB.
const persistGroup = "persist"

// parts are the pieces of the process, wired.
type parts struct {
	rest       rest.Config
	gateway    *live.Gateway
	background []func(context.Context) error
	closers    []func() error
	log        *slog.Logger
}

// close closes the connections, the newest first.
func (p *parts) close() {
	for i := range p.closers {
		if err := p.closers[len(p.closers)-1-i](); err != nil {
			p.log.Warn("close", "error", err)
		}
	}
}

// assemble wires the process. It waits for no engine.
func assemble(cfg config, registry *prometheus.Registry, spans *traces.Traces, log *slog.Logger) (_ *parts, err error) {
	p := &parts{log: log}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	instance := name()

	// --- Tokens
	tokens, err := token.New(cfg.JWT, log)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() error { tokens.Close(); return nil })

	// --- Engines
	database, err := cfg.MongoDB.Open()
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() error { return disconnect(database) })
	kafkaOptions, err := cfg.Kafka.Options()
	if err != nil {
		return nil, err
	}
	kafka, err := kgo.NewClient(kafkaOptions...) // for questions alone
	if err != nil {
		return nil, fmt.Errorf("open Kafka: %w", err)
	}
	p.closers = append(p.closers, func() error { kafka.Close(); return nil })
	bookEvents, err := book.NewProducer(cfg.Kafka)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() error { bookEvents.Close(); return nil })

	// --- Catalogue and carts
	books := book.Open(book.Options{Database: database, Producer: bookEvents, Currency: cfg.Currency.Code, Logger: log, Registerer: registry})
	cfg.Redis.LogTo(log)
	redis, err := cfg.Redis.Options()
	if err != nil {
		return nil, err
	}
	carts, err := cart.Open(cart.Options{
		Redis: redis, Shards: cfg.Redis.Shards, Currency: cfg.Currency.Code,
		Limits:    cart.Limits{Quantity: cfg.MaxQuantity, Lines: cfg.MaxLines},
		Catalogue: books.Cache(), KeepAnswers: cfg.KeepAnswers, MemoryLimit: cfg.Redis.MemoryFull, RemindAfter: cfg.Reminders.After,
		AckKafka: cfg.Ack == "kafka", Log: log,
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, carts.Close)
	recoverer := recovery.New(recovery.Config{
		Store: carts, Carts: database.Collection("carts"), Kafka: kadm.NewClient(kafka), Topic: schemas.CartEvents,
		PersistGroup: persistGroup, Options: kafkaOptions, Instance: instance, Log: log, Registerer: registry,
	})
	carts.RestoreWith(recoverer)

	// --- Outbox to Kafka
	trimEvery := time.Second
	if cfg.Ack == "kafka" {
		trimEvery = 0 // callers wait for what a trim announces
	}
	relaying, err := relay.New(relay.Config{Outbox: carts, Kafka: cfg.Kafka, Shards: cfg.Redis.Shards, Instance: instance,
		TrimEvery: trimEvery, Client: spans.Producer(), Logger: log, Registerer: registry})
	if err != nil {
		return nil, err
	}
	p.background = []func(context.Context) error{books.Run, carts.Run, recoverer.Run, relaying.Run}

	// --- Callers
	p.gateway = live.New(live.Config{
		Carts:          carts,
		Feed:           func(l cart.Listener) live.Feed { return carts.Feed(l) },
		Tokens:         tokens,
		AllowedOrigins: cfg.HTTP.AllowedOrigins, Problem: rest.Refuse(log), Drain: cfg.DrainFor, Log: log, Registerer: registry,
	})
	p.rest = rest.Config{
		Settings: cfg.HTTP, Carts: carts, Books: books, Tokens: tokens, Live: p.gateway, OptOuts: optout.New(database),
		Readiness:  rest.Readiness{Redis: carts.Ping, Kafka: pingKafka(kafka), MongoDB: pingMongoDB(database), Shards: carts.Count},
		Registerer: registry, Gatherer: registry, Tracer: spans.Tracer(), Log: log,
	}
	links, err := link.New(cfg.Links, cfg.JWT)
	switch {
	case err == nil:
		p.rest.Links = links
	case !errors.Is(err, link.ErrNoSecret): // without one nobody signs any
		return nil, err
	}
	return p, nil
}

// name tells this process from every other, earlier ones on the same host too.
func name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "api"
	}
	return host + "-" + rand.Text()[:8]
}

func disconnect(d *mongo.Database) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := d.Client().Disconnect(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

func pingKafka(client *kgo.Client) rest.Probe {
	return func(ctx context.Context) (string, error) { return "", client.Ping(ctx) }
}

func pingMongoDB(d *mongo.Database) rest.Probe {
	return func(ctx context.Context) (string, error) { return "", d.Client().Ping(ctx, nil) }
}
