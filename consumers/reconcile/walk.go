package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
)

const (
	// mostSuspects is how many carts that differ are remembered until they are looked at again.
	mostSuspects = 100_000
	// waitedOut is a wait that isn't worth beginning anything else.
	waitedOut = 10 * time.Millisecond
)

// walk goes over carts page by page. Those that differ are looked at again in time, while the walk goes on; those whose document
// is overdue are healed meanwhile.
type walk struct {
	*run
	pending  []*batch // in order
	suspects int
	writing  errgroup.Group
}

// batch is a page that was looked at.
type batch struct {
	users    int
	compared int
	first    map[string]cart.Digest // what Redis had of the carts that differed
	bulks    []*bulk                // those of them that are healed at once
	failed   map[string]error
	due      time.Time // to be looked at again
	next     string    // where the run goes on behind it
}

func (r *run) walk() *walk {
	w := &walk{run: r}
	w.writing.SetLimit(bulksAtOnce)
	return w
}

// end waits for what is under way.
func (w *walk) end() { _ = w.writing.Wait() } // what failed is looked at again

// page takes up what was found of some users, and then looks again at what is due. next is where the page ends.
func (w *walk) page(ctx context.Context, users int, found []pair, failed map[string]error, next string) error {
	now := time.Now()
	one := &batch{users: users, compared: len(found), first: map[string]cart.Digest{}, failed: failed, due: now.Add(w.LookAgainAfter), next: next}
	var late *bulk
	for _, p := range found {
		if p.drift() == "" {
			continue
		}
		c, overdue := w.overdue(p, now)
		if !overdue {
			one.first[p.user] = p.redis
			continue
		}
		if late == nil || len(late.carts) == perBulk {
			late = &bulk{done: make(chan struct{})}
			one.bulks = append(one.bulks, late)
		}
		late.carts, late.saw = append(late.carts, c), append(late.saw, p.redis)
	}
	w.pending, w.suspects = append(w.pending, one), w.suspects+len(one.first)
	for _, b := range one.bulks {
		w.writing.Go(func() error { // waits where enough are under way
			w.write(ctx, w.f, b)
			return nil
		})
	}
	return w.settle(ctx, false)
}

// written waits for the bulks of a batch, where they are waited for, and leaves what they left to another look. It returns false where they are under
// way.
func (w *walk) written(b *batch, wait bool) bool {
	for len(b.bulks) > 0 {
		one := b.bulks[0]
		select {
		case <-one.done:
		default:
			if !wait {
				return false
			}
			<-one.done // ctx ends it
		}
		if one.unsure {
			for i, c := range one.carts {
				b.first[c.UserID] = one.saw[i]
			}
			w.suspects += len(one.carts)
		}
		b.bulks = b.bulks[1:]
	}
	return true
}

// settle looks again at what is due, at all that is pending where the walk ends. The run's position moves behind what is
// done with.
func (w *walk) settle(ctx context.Context, ends bool) error {
	moved := false
	for len(w.pending) > 0 {
		oldest := w.pending[0]
		if !w.written(oldest, ends || w.suspects >= mostSuspects) {
			break
		}
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
func (w *walk) tell(b *batch) (err error) {
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
