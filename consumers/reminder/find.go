package reminder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"cartstream/api/cart"
)

// Idle is where carts are found that their users left alone. A cart.Store is one.
type Idle interface {
	Shards() int
	// RemindIdle looks at up to limit carts of the shard that were idle for that long, and puts a reminder of each that needs one into
	// the shard's outbox. It is to be called again while it looked at limit.
	RemindIdle(ctx context.Context, shard int, idle time.Duration, limit int) (looked, reminded int, err error)
}

const (
	// findAtOnce is how many carts one call looks at: Redis is held for a millisecond or two.
	findAtOnce = 100
	// findShards is how many shards are looked at at the same time.
	findShards = 4
	// findRate is how many carts a second are looked at, so that even after weeks in which nobody looked, Redis and the outboxes
	// have time for everybody else.
	findRate = 2000
)

// Finder finds idle carts, in every shard, and puts their reminders on the way to Kafka.
type Finder struct {
	carts Idle
	after time.Duration
	pace  *rate.Limiter
	log   *slog.Logger
}

// NewFinder returns a Finder of carts that were left alone for that long.
func NewFinder(carts Idle, after time.Duration, log *slog.Logger) *Finder {
	return &Finder{carts: carts, after: after, pace: rate.NewLimiter(findRate, findShards*findAtOnce), log: log}
}

// Interval is how often to look: each minute, or each tenth of the wait where that is shorter.
func (f *Finder) Interval() time.Duration { return min(time.Minute, f.after/10) }

// Find looks once through all shards and returns how many carts it reminds of. It may be ended and begun again at any
// time: what it found is marked in the same step. A shard that is being recovered, or whose Redis doesn't answer, keeps no
// other one waiting: it is left out, and is what the error is for.
func (f *Finder) Find(ctx context.Context) (found int64, err error) {
	var (
		reminded, recovering, silent atomic.Int64
		failure                      atomic.Pointer[error]
		shards                       errgroup.Group
	)
	shards.SetLimit(findShards)
	for shard := range f.carts.Shards() {
		shards.Go(func() error {
			err := f.shard(ctx, shard, &reminded)
			var away *cart.Unavailable
			switch {
			case err == nil || ctx.Err() != nil:
			case errors.As(err, &away) && away.Recovering:
				recovering.Add(1)
			default:
				silent.Add(1)
				failure.Store(&err)
			}
			return nil
		})
	}
	_ = shards.Wait() // each outcome is counted
	if n := reminded.Load(); n > 0 {
		f.log.Info("carts were left alone", "reminders", n)
	}
	switch first := failure.Load(); {
	case ctx.Err() != nil:
		return reminded.Load(), ctx.Err()
	case first != nil:
		return reminded.Load(), fmt.Errorf("%d shards don't answer, %d are recovering: %w", silent.Load(), recovering.Load(), *first)
	case recovering.Load() > 0:
		return reminded.Load(), fmt.Errorf("%d shards are recovering", recovering.Load())
	}
	return reminded.Load(), nil
}

// shard looks through one shard and adds to what was reminded of.
func (f *Finder) shard(ctx context.Context, shard int, reminded *atomic.Int64) error {
	for {
		if err := f.pace.WaitN(ctx, 1); err != nil {
			return err
		}
		looked, n, err := f.carts.RemindIdle(ctx, shard, f.after, findAtOnce)
		if err != nil {
			return fmt.Errorf("shard %d: %w", shard, err)
		}
		reminded.Add(int64(n))
		if looked < findAtOnce {
			return nil
		}
		if err := f.pace.WaitN(ctx, looked); err != nil {
			return err
		}
	}
}
