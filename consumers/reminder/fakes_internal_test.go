package reminder

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

var errAway = errors.New("connection refused")

// world is every engine of Mailers at once, in memory, so that a fake clock can rule them.
type world struct {
	mu     sync.Mutex
	answer func(user string) error // of the relay; nil takes the mail
	tried  []try
	sent   map[string]int
	carts  map[string]int64 // by user: the version of their own last change, 1 where none is told
	out    map[string]bool  // opted out
	kept   map[string]cart.Tag
	waits  map[string]deferral
	given  []runner.GivenUp

	mongo, lot error // nil: it answers
}

// try is a mail that the relay was given.
type try struct {
	user string
	at   time.Time
}

func newWorld() *world {
	return &world{sent: map[string]int{}, carts: map[string]int64{}, out: map[string]bool{}, kept: map[string]cart.Tag{}, waits: map[string]deferral{}}
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) Has(_ context.Context, user string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out[user], w.mongo
}

func (w *world) last(_ context.Context, user string) (cart.Tag, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept[user], w.mongo
}

func (w *world) keep(ctx context.Context, r schemas.Reminder, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.writes(ctx); err != nil {
		return err
	}
	w.kept[r.UserID] = cart.Tag{Epoch: r.Epoch, Version: r.Version}
	return nil
}

// writes is what MongoDB says to a write.
func (w *world) writes(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.mongo
}

func (w *world) ready(context.Context) (connection, error) { return w, nil }

func (w *world) release() {}

func (w *world) send(ctx context.Context, _ *mail.Msg, address string) error {
	w.mu.Lock()
	user := strings.TrimSuffix(address, "@example.com")
	w.tried = append(w.tried, try{user, time.Now()})
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if err := answer(user); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.set(func() { w.sent[user]++ })
	return nil
}

func (w *world) Contact(_ context.Context, user string) (cart.Contact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := []schemas.Line{{BookID: "b1", Title: "Emma", Quantity: 1, Availability: schemas.Available}}
	v := max(w.carts[user], 1)
	return cart.Contact{Epoch: 1, Version: v, Email: user + "@example.com", Cart: schemas.Cart{UserID: user, Epoch: 1, Version: v, Currency: "EUR", Items: lines}}, nil
}

func (w *world) newest(_ context.Context, user string) (cart.Tag, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cart.Tag{Epoch: w.waits[user].Epoch, Version: w.waits[user].Version}, w.mongo
}

func (w *world) put(ctx context.Context, d deferral) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.writes(ctx)
	if old := w.waits[d.User]; err == nil && schemas.Newer(d.Epoch, d.Version, old.Epoch, old.Version) {
		w.waits[d.User] = d
	}
	return err
}

func (w *world) due(_ context.Context, now time.Time, _ int) (found []deferral, waiting int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.waits {
		if !d.Due.After(now) {
			found = append(found, d)
		}
	}
	return found, int64(len(w.waits)), w.mongo
}

func (w *world) change(ctx context.Context, d deferral, next *deferral) (ours bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.waits[d.User]
	if err := w.writes(ctx); err != nil || was.Epoch != d.Epoch || was.Version != d.Version || was.Revision != d.Revision {
		return false, err
	}
	if next == nil {
		delete(w.waits, d.User)
		return true, nil
	}
	next.Revision++
	w.waits[d.User] = *next
	return true, nil
}

func (w *world) GiveUp(_ context.Context, group string, g runner.GivenUp) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lot == nil && group == Group {
		w.given = append(w.given, g)
	}
	return w.lot
}

// parked returns what was given up, attempts the times of the user's mails since the first, and waiting how many wait.
func (w *world) parked() []runner.GivenUp {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.given
}

func (w *world) attempts(user string) (after []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first time.Time
	for _, t := range w.tried {
		if t.user != user {
			continue
		}
		if first.IsZero() {
			first = t.at
		}
		after = append(after, t.at.Sub(first))
	}
	return after
}

func (w *world) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits)
}

// took returns how many of the user's mails the relay took, all the same of everybody.
func (w *world) took(user string) int { return w.all()[user] }

func (w *world) all() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.sent)
}

func (w *world) deferral(user string) deferral {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waits[user]
}

// slowly is the world with a relay that takes its time.
type slowly struct {
	*world
	takes time.Duration
}

func (s slowly) ready(context.Context) (connection, error) { return s, nil }

func (s slowly) send(ctx context.Context, m *mail.Msg, address string) error {
	select {
	case <-time.After(s.takes):
		return s.world.send(ctx, m, address)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lastly is the world with a relay that has a mail already when the call ends, and answers late, or not at all.
type lastly struct {
	*world
	answer error
}

func (l lastly) ready(context.Context) (connection, error) { return l, nil }

func (l lastly) send(ctx context.Context, m *mail.Msg, address string) error {
	<-ctx.Done()
	time.Sleep(answerMost)
	if l.answer != nil {
		return l.answer
	}
	return l.world.send(context.WithoutCancel(ctx), m, address)
}
