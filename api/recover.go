package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/api/recovery"
	"cartstream/schemas"
)

// acceptFor bounds how long the command tries.
const acceptFor = time.Minute

// acceptLoss opens shards that wait for a Kafka that won't come back, and prints what is given up. It may run beside the
// instances that wait: shards that they could open are left to them.
func acceptLoss(ctx context.Context, cfg config, out io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, acceptFor)
	defer cancel()
	database, err := cfg.MongoDB.Open()
	if err != nil {
		return err
	}
	defer disconnect(database) //nolint:errcheck // the command is over
	options, err := cfg.Kafka.Options()
	if err != nil {
		return err
	}
	kafka, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("open Kafka: %w", err)
	}
	defer kafka.Close()
	redis, err := cfg.Redis.Options()
	if err != nil {
		return err
	}
	carts, err := cart.Open(cart.Options{
		Redis: redis, Shards: cfg.Redis.Shards, Currency: cfg.Currency.Code, KeepAnswers: cfg.KeepAnswers, Log: log,
	})
	if err != nil {
		return err
	}
	defer carts.Close() //nolint:errcheck // the command is over
	given, err := recovery.New(recovery.Config{
		Store: carts, Carts: database.Collection("carts"), Kafka: kadm.NewClient(kafka), Topic: schemas.CartEvents,
		PersistGroup: persistGroup, Options: options, Instance: name(), AcceptLoss: true, Log: log,
	}).Accept(ctx)
	if err == nil && len(given) == 0 {
		_, err = fmt.Fprintln(out, "No shard waits for Kafka; nothing is given up.")
		return err
	}
	for _, g := range given {
		what := "what Redis lost of it, if anything, is given up"
		if g.Lost {
			what = "its carts are those that MongoDB holds; later changes are given up"
		}
		if _, err := fmt.Fprintf(out, "shard %d is open under generation %d: %s\n", g.Shard, g.Generation, what); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("accept the loss: %w", err)
	}
	return nil
}
