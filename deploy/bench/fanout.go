package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fanout is a catalogue and carts, and those who add meanwhile.
type fanout struct {
	*stack
	boss    string // a token
	carts   int
	adders  []caller
	clients []*client
	probe   *probe
}

// prepareFanout fills the carts.
func (b *bench) prepareFanout(ctx context.Context, s *stack) (_ *fanout, err error) {
	f := &fanout{stack: s, carts: b.carts}
	if f.boss, err = sign("boss", "admin"); err != nil {
		return nil, err
	}
	if err := s.createBooks(ctx); err != nil {
		return nil, err
	}
	body := fmt.Sprintf(`{"bookId":%q,"title":"The Old Curiosity Shop","author":"Charles Dickens","unitPrice":999,"stock":5}`, bestseller)
	if _, err := request(ctx, http.MethodPost, "http://"+s.api.addr+"/v1/books", f.boss, body); err != nil {
		return nil, err
	}
	all, err := callers(addUsers + b.carts)
	if err != nil {
		return nil, err
	}
	f.adders = all[:addUsers]
	began := time.Now()
	if err := f.fill(ctx, all[addUsers:]); err != nil {
		return nil, err
	}
	b.say("%d carts hold the book after %.1f s", b.carts, time.Since(began).Seconds())
	for range senders {
		c, err := dial(ctx, s.api.addr)
		if err != nil {
			return nil, err
		}
		f.clients = append(f.clients, c)
	}
	f.probe, err = openProbe(ctx, s.redis.Addr)
	return f, err
}

// fill puts the book into the users' carts.
func (f *fanout) fill(ctx context.Context, users []caller) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range 64 {
		g.Go(func() error {
			c, err := dial(ctx, f.api.addr)
			if err != nil {
				return err
			}
			defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
			for i := next.Add(1) - 1; i < int64(len(users)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if _, err := c.add(users[i], bestseller, ""); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (f *fanout) close() {
	for _, c := range f.clients {
		_ = c.conn.Close()
	}
	f.probe.close()
}

// reprice gives the book a new price.
func (f *fanout) reprice(ctx context.Context, price int) error {
	_, err := request(ctx, http.MethodPatch, "http://"+f.api.addr+"/v1/books/"+bestseller, f.boss, fmt.Sprintf(`{"unitPrice":%d}`, price))
	return err
}

// change gives the book a new price and waits until every cart has it. It returns carts a second.
func (f *fanout) change(ctx context.Context, price int) (float64, error) {
	before, err := f.changed(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := f.reprice(ctx, price); err != nil {
		return 0, err
	}
	took, err := f.followed(ctx, before, f.carts, began)
	return float64(f.carts) / took.Seconds(), err
}

// Asking takes consumers some milliseconds, so it is done seldom until the end is near.
const (
	askSeldom = 500 * time.Millisecond
	askOften  = 20 * time.Millisecond
)

// followed waits until that many carts have changed since booksync had changed before, and returns how long after began.
func (f *fanout) followed(ctx context.Context, before float64, carts int, began time.Time) (time.Duration, error) {
	for wait := min(askSeldom, askOften*time.Duration(carts)); ; {
		if err := sleep(ctx, wait); err != nil {
			return 0, err
		}
		now, err := f.changed(ctx)
		took := time.Since(began)
		changed := now - before
		switch {
		case err != nil:
			return 0, err
		case changed >= float64(carts):
			return took, nil
		case took > fanoutWithin:
			return 0, fmt.Errorf("%.0f of %d carts changed in %v", changed, carts, took)
		case changed > 0:
			left := time.Duration(float64(took) * (float64(carts)/changed - 1))
			wait = max(askOften, min(left/2, askSeldom))
		}
	}
}

// changed is how many carts booksync has changed so far.
func (f *fanout) changed(ctx context.Context) (float64, error) {
	page, err := get(ctx, "http://"+f.consumers.addr+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(page) {
		if value, ok := bytes.CutPrefix(line, []byte("cartstream_booksync_carts_changed_total ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		}
	}
	return 0, errors.New("booksync has no metric of the carts that it changed")
}
