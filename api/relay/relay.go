// Package relay carries the outboxes in Redis to Kafka.
//
// Every version of a cart reaches Kafka, each for the first time after all lower ones of its user, whatever fails on the
// way. Entries are removed from an outbox only when Kafka has acknowledged them. Repeats happen after errors and when a
// shard changes hands; what is missing or out of order never does.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
	"cartstream/schemas/env"
)

// Outbox is the outboxes, one a shard, and who may relay them. Its calls end by their context's deadline, with what is
// known by then, shard by shard.
type Outbox interface {
	// ReadGroups returns every shard once, grouped by what one ReadOutbox may name. It never changes.
	ReadGroups() [][]int
	// Beat keeps the instance among the members of every shard for ttl, and takes or keeps the lease of each shard that is
	// wished for and free or its own; the others it gives up. A ttl of 0 gives up all and leaves. What is known of Kafka is
	// kept with the shard whose lease the instance has. The result has one lease a shard.
	Beat(ctx context.Context, instance string, ttl time.Duration, wishes []schemas.ShardWish) ([]schemas.ShardLease, error)
	// ReadOutbox waits up to block for entries after the cursors and returns up to limit for each. A batch with Err and no
	// entries says that its shard must be read from the head again; a returned error, that none could be read.
	ReadOutbox(ctx context.Context, cursors []schemas.OutboxCursor, block time.Duration, limit int) ([]schemas.OutboxBatch, error)
	// Trim removes what Kafka has. An error for each: schemas.ErrFenced is final, others are worth another try.
	Trim(ctx context.Context, trims []schemas.OutboxTrim) []error
}

// Config of a Relay. All fields but TrimEvery and Client are required.
type Config struct {
	Outbox   Outbox
	Kafka    env.Kafka
	Shards   int    // as many as the outbox has
	Instance string // tells this process from every other, earlier ones too
	// TrimEvery is how long what Kafka has may stay in an outbox that is busy, for want of a few more to remove with it; a
	// trim is a call of its own. 0 where someone waits for the position that a trim announces.
	TrimEvery time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Client adds options to the Kafka client, as hooks for traces.
	Client []kgo.Opt
}

// Relay is one instance's share in relaying. Instances find each other in the outbox and divide the shards among them.
type Relay struct {
	Config
	producer *env.Producer
	lanes    []*lane
	shards   []*shard       // by number
	settled  chan *round    // rounds whose records all have an answer; a place for each shard's only one
	hurry    chan struct{}  // another beat may change something
	silent   int            // shards that did not answer the last beat
	ends     []atomic.Int64 // by partition of CartEvents: one more than the newest offset that a record of ours got, or madeAnew
	metrics  *metrics
}

// New returns a Relay that waits for Run. It asks neither Kafka nor Redis.
func New(cfg Config) (*Relay, error) {
	if cfg.Instance == "" || cfg.Shards < 1 {
		return nil, fmt.Errorf("relay: instance %q with %d shards", cfg.Instance, cfg.Shards)
	}
	r := &Relay{
		Config:  cfg,
		shards:  make([]*shard, cfg.Shards),
		settled: make(chan *round, cfg.Shards),
		ends:    make([]atomic.Int64, max(1, cfg.Kafka.Partitions)),
		hurry:   make(chan struct{}, 1),
	}
	for _, numbers := range cfg.Outbox.ReadGroups() {
		l := &lane{relay: r, readable: make(chan struct{}, 1), trimmable: make(chan struct{}, 1), entrySize: 4 << 10}
		for _, n := range numbers {
			if n < 0 || n >= cfg.Shards || r.shards[n] != nil {
				return nil, fmt.Errorf("relay: read groups name shard %d of %d twice or at all", n, cfg.Shards)
			}
			s := &shard{number: n, lane: l}
			l.shards, r.shards[n] = append(l.shards, s), s
		}
		r.lanes = append(r.lanes, l)
	}
	if slices.Contains(r.shards, nil) {
		return nil, fmt.Errorf("relay: read groups don't name all of %d shards", cfg.Shards)
	}
	r.metrics = newMetrics(r)
	options, err := producer(cfg)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	if r.producer, err = env.NewProducer(options...); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return r, nil
}

const (
	topicsBackoff    = 250 * time.Millisecond // doubles to
	topicsBackoffMax = 4 * time.Second
)

// Run relays until ctx ends, then finishes what is in flight, for 5 s at most, hands its shards to the others and returns
// nil. It first creates the topics that are missing, for as long as that takes, and takes no shard before. It returns
// env.ErrPartitions where a topic has another number of partitions than configured: relaying would change the places of
// users. It may be called once.
func (r *Relay) Run(ctx context.Context) error {
	defer r.producer.Close()
	if err := r.ensureTopics(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	// What is in flight when ctx ends is still to be settled and trimmed.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts errgroup.Group
	parts.Go(func() error { r.settle(work); return nil })
	for _, l := range r.lanes {
		parts.Go(func() error { l.read(work); return nil })
		parts.Go(func() error { l.trim(work); return nil })
	}
	r.member(ctx, work)
	stop()
	_ = parts.Wait()   // they have no errors
	r.producer.Close() // before others take the shards, so that nothing of ours follows
	r.leave(context.WithoutCancel(ctx))
	return nil
}

// ensureTopics returns nil when the topics are as the contract says, or ctx has ended.
func (r *Relay) ensureTopics(ctx context.Context) error {
	for wait := topicsBackoff; ; wait = min(2*wait, topicsBackoffMax) {
		err := r.Kafka.EnsureTopics(ctx, r.producer.Client())
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, env.ErrPartitions) {
			return fmt.Errorf("relay: %w", err)
		}
		level := slog.LevelWarn
		if wait < topicsBackoffMax/4 {
			level = slog.LevelInfo // topics that were just created take a moment to show
		}
		r.Logger.Log(ctx, level, "topics can't be made sure of, nothing is relayed yet", "err", err, "retry", wait)
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// settle takes up what has become of rounds.
func (r *Relay) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case sent := <-r.settled:
			sent.shard.lane.settle(ctx, sent)
		}
	}
}

// sleep waits for d and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// wake makes whoever waits on c look again.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
