package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pace calls f for the numbers from 0 to n-1, each at its time, perSecond of them a second, on workers that each stay
// with one goroutine. What comes late is not left out: the load doesn't wait for whoever is slow. It returns how long it
// took.
func pace(ctx context.Context, workers, perSecond, n int, f func(ctx context.Context, worker, i int) error) (time.Duration, error) {
	var next atomic.Int64
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		g.Go(func() error {
			for {
				i := int(next.Add(1) - 1)
				if i >= n {
					return nil
				}
				due := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
				if wait := time.Until(due); wait > 0 {
					if err := sleep(ctx, wait); err != nil {
						return err
					}
				}
				if err := f(ctx, worker, i); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	return time.Since(began), err
}
