package engine

import (
	"context"
	"time"
)

// until repeats f until it succeeds, and returns its last error when ctx or the time for getting ready ends.
func until(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lookEvery):
		}
	}
}
