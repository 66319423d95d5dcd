package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartstream/api/cart"
	"cartstream/schemas"
)

const (
	// mostSuspects is how many carts that differ are remembered until they are looked at again.
	mostSuspects = 100_000
	// waitedOut is a wait that isn't worth beginning anything else.
	waitedOut = 10 * time.Millisecond
)

// walk goes over carts page by page. Those that differ are looked at again in time, while the walk goes on.
type walk struct {
	*Reconciler
	f        *figures
	left     *left
	pending  []batch // in order
	suspects int
}

// batch is a page that was looked at.
type batch struct {
	users    int
	compared int
	first    map[string]cart.Digest // what Redis had of the carts that differed
	failed   map[string]error
	due      time.Time // to be looked at again
	next     string    // where the run goes on behind it
}

// page takes up what was found of some users, and then looks again at what is due. next is where the page ends.
func (w *walk) page(ctx context.Context, users int, found map[string]pair, failed map[string]error, next string) error {
	one := batch{users: users, compared: len(found), first: suspects(found), failed: failed, due: time.Now().Add(w.LookAgainAfter), next: next}
	w.pending, w.suspects = append(w.pending, one), w.suspects+len(one.first)
	return w.settle(ctx, false)
}

// settle looks again at what is due, at all that is pending where the walk ends. The run's position moves behind what is
// done with.
func (w *walk) settle(ctx context.Context, ends bool) error {
	moved := false
	for len(w.pending) > 0 {
		oldest := w.pending[0]
		if len(oldest.first) > 0 {
			wait := time.Until(oldest.due)
			if wait > waitedOut && !ends && w.suspects < mostSuspects {
				break
			}
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			if err := w.again(ctx, w.f, oldest.first, oldest.failed); err != nil {
				return err
			}
		}
		if err := w.tell(oldest); err != nil {
			return err
		}
		w.pending, w.suspects = w.pending[1:], w.suspects-len(oldest.first)
		w.count(w.f, oldest.compared)
		w.f.After, moved = oldest.next, true
	}
	if !moved {
		return nil
	}
	return w.journal.save(ctx, w.f)
}

// tell takes note of what failed. It is an error if no cart of the page could be compared because an engine is away.
func (w *walk) tell(b batch) (err error) {
	away := 0
	for u, failure := range b.failed {
		err = fmt.Errorf("the cart of %s: %w", u, failure)
		w.left.add(err)
		if errors.Is(failure, schemas.ErrUnavailable) {
			away++
		}
	}
	if away > 0 && away == b.users {
		return err
	}
	return nil
}

// sleep returns ctx's error where that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
