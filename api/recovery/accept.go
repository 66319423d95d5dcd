package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Given is a shard that was opened without what only Kafka might have of it.
type Given struct {
	Shard int
	// Lost says that Redis had nothing of the shard: its carts are those that MongoDB holds. Else they are those that Redis
	// held; changes that Redis had lost, its last second's at most where its AOF is synced each second, are given up.
	Lost bool
	// Generation that the shard was opened under.
	Generation int64
}

// ErrNoAnswer says that no Redis node answers.
var ErrNoAnswer = errors.New("no Redis node answers")

// Accept opens every shard once that waits for a Kafka that doesn't come back, and returns those of which something may be
// given up. It needs AcceptLoss, and MongoDB where a shard lost its data. What Kafka turns out to have later is older than
// what its cart has become since; a cart that wasn't touched since takes it when its copy is compared. It tries until ctx
// ends; then the error says what keeps shards closed.
func (r *Recovery) Accept(ctx context.Context) ([]Given, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		failed, err := r.pass(ctx)
		if err != nil {
			return r.given, err
		}
		if answers := r.Store.ReplicationIDs(ctx); failed == 0 && len(answers) > 0 {
			return r.given, nil
		} else if len(answers) == 0 {
			err = ErrNoAnswer
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r.given, errors.Join(err, fmt.Errorf("%d nodes stay closed, in part: %w", failed, ctx.Err()))
		}
	}
}
