package runner

import (
	"context"
	"math/rand/v2"
	"time"
)

// Waits between tries. Each is drawn from zero to the bound ("full jitter"), which doubles with each try, so that those
// who failed together don't come back together.
const (
	downFirst = 50 * time.Millisecond
	downLast  = 5 * time.Second
	// Nine waits of at most 8, 16, … 2,048 ms: a record's ten attempts wait 4.1 s at most.
	refusedFirst = 8 * time.Millisecond
	refusedLast  = 2048 * time.Millisecond
)

// backoff returns how long to wait after the try-th failure, counted from 1.
func backoff(first, last time.Duration, try int) time.Duration {
	bound := last
	if shift := try - 1; shift < 16 { // 50 ms doubled 16 times is far beyond any cap
		bound = min(last, first<<shift)
	}
	return rand.N(bound + 1) //nolint:gosec // jitter
}

// sleep waits for d, or until ctx ends, whose error it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
