package main

import (
	"context"
	"errors"
	"time"
)

// mostAlone is the most carts whose changes find room in the outboxes while nobody relays them: booksync pauses at 5,000 a
// shard.
const mostAlone = 128 * 4000

// aloneTurn is one more fan-out, with nobody but booksync and Redis at work: the api, with its adds and its relay, stands
// still once the first carts are changed. The slow log's clock also runs while the kernel gives Redis's core to someone
// else; here hardly anybody wants it, so that most of what is left is what a step takes.
func (f *fanout) aloneTurn(ctx context.Context, price int) (held []time.Duration, err error) {
	before, err := f.changed(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.reprice(ctx, price); err != nil {
		return nil, err
	}
	if _, err := f.followed(ctx, before, 1, time.Now()); err != nil {
		return nil, err
	}
	api := f.api.cmd.Process.Pid
	if err := freeze(api); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, thaw(api)) }()
	if err := sleep(ctx, 100*time.Millisecond); err != nil { // what was on its way is over
		return nil, err
	}
	if err := f.probe.reset(ctx); err != nil {
		return nil, err
	}
	if _, err := f.followed(ctx, before, f.carts, time.Now()); err != nil {
		return nil, err
	}
	return f.probe.held(ctx)
}
