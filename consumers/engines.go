package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/api/cart"
	"cartstream/consumers/deadletter"
	"cartstream/consumers/persist"
	"cartstream/consumers/reconcile"
	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// engines are the connections that the consumers share. None waits for its engine to be there.
type engines struct {
	carts *cart.Store
	redis redis.UniversalClient // for keys outside of the shards
	mongo *mongo.Database
	kafka *kgo.Client // for topics and readiness; each consumer has one of its own

	lot        *deadletter.Lot // of this process; set before any consumer is declared
	stored     *persist.Store  // the carts in MongoDB, on these connections
	reconciler *reconcile.Reconciler
	mailer     *reminder.Mailer  // nil without a relay
	beside     map[string]beside // what runs beside a consumer, by its name
}

func connect(cfg config, log *slog.Logger) (*engines, error) {
	e := &engines{beside: map[string]beside{}}
	if err := e.open(cfg, log); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *engines) open(cfg config, log *slog.Logger) error {
	cfg.Redis.LogTo(log)
	options, err := cfg.Redis.Options()
	if err != nil {
		return err
	}
	e.carts, err = cart.Open(cart.Options{
		Redis: options, Shards: cfg.Redis.Shards, Currency: cfg.Currency.Code, RemindAfter: cfg.Reminders.After,
		MemoryLimit: cfg.Redis.MemoryFull, Log: log,
	})
	if err != nil {
		return fmt.Errorf("open carts: %w", err)
	}
	e.redis = redis.NewUniversalClient(options)
	if e.mongo, err = cfg.MongoDB.Open(); err != nil {
		return err
	}
	kafka, err := cfg.Kafka.Options()
	if err != nil {
		return err
	}
	if e.kafka, err = kgo.NewClient(kafka...); err != nil {
		return fmt.Errorf("open Kafka: %w", err)
	}
	return nil
}

// close closes what was opened.
func (e *engines) close() error {
	var faults []error
	if e.carts != nil {
		faults = append(faults, e.carts.Close())
	}
	if e.redis != nil {
		faults = append(faults, e.redis.Close())
	}
	if e.mongo != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		faults = append(faults, e.mongo.Client().Disconnect(ctx))
	}
	if e.kafka != nil {
		e.kafka.Close()
	}
	return errors.Join(faults...)
}

// probe asks an engine whether it answers. The notice, where there is one, says that it is not set up as it should be.
type probe func(context.Context) (notice string, err error)

func (e *engines) probes() map[string]probe {
	return map[string]probe{
		"redis": e.carts.Ping,
		"kafka": func(ctx context.Context) (string, error) { return "", e.kafka.Ping(ctx) },
		"mongodb": func(ctx context.Context) (string, error) {
			return "", e.mongo.Client().Ping(ctx, readpref.Primary())
		},
	}
}

// sync makes a cart's document as new as what Redis has. schemas.ErrUnavailable says that one of the two is away.
func (e *engines) sync(ctx context.Context, user string) error { return away(e.stored.Sync(ctx, user)) }

// equal makes a cart and its document equal, under the rules of reconciliation. Errors are those of sync.
func (e *engines) equal(ctx context.Context, user string) error {
	return away(e.reconciler.Cart(ctx, user))
}

// away adds schemas.ErrUnavailable to an error that no engine's refusal is the reason for.
func away(err error) error {
	if err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
		return err
	}
	return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
}
