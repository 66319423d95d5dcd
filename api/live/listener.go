package live

import (
	"context"
	"math/rand/v2"
	"time"

	"cartstream/api/cart"
)

const (
	// Each user is visited once in visitEvery, at a moment of its own: compared with Redis, and its sockets pinged.
	visitEvery = 30 * time.Second
	visitSlots = 300
	// checkers bounds how many users are compared with Redis at once.
	checkers = 8
	// A user for whom Redis had no answer is due again after recheckFirst; each failure in a row doubles that, up to
	// recheckMost.
	recheckFirst = time.Second
	recheckMost  = 15 * time.Second
)

// listener is what the Feed tells the Gateway.
type listener struct{ *Gateway }

// Changed passes a change on to the user's sockets.
func (g listener) Changed(user, payload string) {
	g.mu.Lock()
	w := g.watches[user]
	g.mu.Unlock()
	if w == nil {
		return
	}
	f, err := changeFrame(user, payload)
	if err != nil {
		g.Log.Error("unreadable notice", "user", user, "error", err)
		g.compare(w)
		return
	}
	w.offer(f, g.metrics)
}

// Subscribed has the user compared with Redis.
func (g listener) Subscribed(user string) {
	g.mu.Lock()
	w := g.watches[user]
	g.mu.Unlock()
	if w != nil {
		g.compare(w)
	}
}

// compare has a checker compare the user with Redis soon.
func (g *Gateway) compare(w *watch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !w.due {
		w.due = true
		g.due = append(g.due, w)
	}
	signal(g.more)
}

// visit goes round all users, again and again.
func (g *Gateway) visit(ctx context.Context) {
	ticks := time.NewTicker(visitEvery / visitSlots)
	defer ticks.Stop()
	for slot := 0; ; slot = (slot + 1) % visitSlots {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		g.mu.Lock()
		here := make([]*watch, 0, len(g.visits[slot]))
		for w := range g.visits[slot] {
			here = append(here, w)
		}
		g.mu.Unlock()
		for _, w := range here {
			g.compare(w)
			for _, s := range w.all() {
				s.ping()
			}
		}
	}
}

// check compares users that are due with Redis, one at a time.
func (g *Gateway) check(ctx context.Context) {
	for {
		w := g.nextDue()
		if w == nil {
			select {
			case <-ctx.Done():
				return
			case <-g.more:
			}
			continue
		}
		view, err := g.Carts.Get(ctx, w.user)
		if err != nil {
			wait := min(recheckFirst<<min(w.failures.Add(1)-1, 10), recheckMost)
			//nolint:gosec // spreads load, guards nothing
			time.AfterFunc(wait/2+rand.N(wait), func() { g.compare(w) })
			continue
		}
		w.failures.Store(0)
		shown := view.Shown()
		w.offer(frame{at: cart.Tag{Epoch: shown.Epoch, Version: shown.Version}}, g.metrics)
	}
}

// nextDue returns nil where nobody is due.
func (g *Gateway) nextDue() *watch {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.due) > 0 {
		w := g.due[0]
		g.due[0] = nil
		g.due = g.due[1:]
		w.due = false
		if g.watches[w.user] == w {
			if len(g.due) > 0 {
				signal(g.more)
			}
			return w
		}
	}
	g.due = nil
	return nil
}

// signal makes sure that who waits on c goes on, now or the next time.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
