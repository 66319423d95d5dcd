package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"
)

const reconcileAbout = `
reconcile: all of %d carts (-scale), by POST /admin/reconcile {"scope":"all"}; its own times of begin and end. Consumers persist and timers.
  nothing to heal  beside this process reading id, epoch, version and fingerprint of all documents by one cursor: a SHA-1 of all that
                   a document holds, since none is kept
  all stale        every document is of an older epoch than its cart, half a minute after the carts changed; beside raw bulkWrites of
                   1,000 replacements under the condition that what is stored is older, 2 at a time
  adds             POST /v1/cart/items by %d users on %d connections, as fast as they are answered, while nothing is to heal; beside
                   the same adds without it
  CPU is the consumers' own time a cart, Redis's the same

`

// reconcileRuns measures how fast all carts are compared and healed, and what callers notice.
func reconcileRuns(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "persist", "timers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r, err := b.prepareReconcile(ctx, s)
	if err != nil {
		return err
	}
	equal, read := series{name: "nothing to heal"}, series{name: "read all"}
	stale, write := series{name: "all stale"}, series{name: "replace all"}
	busy, alone := series{name: "adds meanwhile"}, series{name: "adds alone"}
	for round := range b.rounds {
		steps := []func() error{
			func() error { return r.turn(ctx, &equal) },
			func() error { return r.rawTurn(ctx, &read, r.readAll) },
			func() error { return r.staleTurn(ctx, &stale) },
			func() error { return r.rawTurn(ctx, &write, r.replaceAll) },
			func() error { return r.addsTurn(ctx, b.each, &busy, &alone) },
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		b.say("reconcile: round %d of %d: equal %.0f/%.0f, stale %.0f/%.0f carts/s, adds %.0f/%.0f a second", round+1, b.rounds,
			equal.cells[0][round], read.cells[0][round], stale.cells[0][round], write.cells[0][round], busy.cells[0][round], alone.cells[0][round])
	}
	if _, err := fmt.Fprintf(b.out, reconcileAbout, r.n, addUsers, senders); err != nil {
		return err
	}
	t := table{columns: []column{{"carts/s", 0}, {"CPU µs", 1}, {"Redis CPU µs", 1}}}
	t.compare(equal, read)
	t.compare(stale, write)
	adds := table{columns: []column{{"requests/s", 0}, {"p50 ms", 2}, {"p99 ms", 2}}}
	adds.compare(busy, alone)
	return errors.Join(t.print(b.out), adds.print(b.out))
}

// reconciling is carts that both sides have.
type reconciling struct {
	*stack
	carts  *mongo.Collection
	copies *mongo.Collection // what raw writes go to
	n      int
	adders []caller
	// changed is when carts last changed: until half a minute later a document that is behind may only be late.
	changed time.Time
}

func (b *bench) prepareReconcile(ctx context.Context, s *stack) (*reconciling, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	// The timer's own runs over changed carts would come between.
	s.consumers.cmd.Env = append(s.consumers.cmd.Env, "RECONCILE_EVERY=24h")
	if _, err := s.again(ctx, "consumers"); err != nil {
		return nil, err
	}
	r := &reconciling{stack: s, carts: db.Collection("carts"), copies: db.Collection("raw"), n: b.sized(200_000)}
	all, err := b.fillCarts(ctx, s, r.carts, r.n)
	if err != nil {
		return nil, err
	}
	r.adders, r.changed = all[:min(addUsers, len(all))], time.Now()
	return r, r.copyAll(ctx)
}

// fillCarts gives each of n users a cart of one line, and waits until MongoDB has them all.
func (b *bench) fillCarts(ctx context.Context, s *stack, carts *mongo.Collection, n int) ([]caller, error) {
	if err := s.createBooks(ctx); err != nil {
		return nil, err
	}
	boss, err := sign("boss", "admin")
	if err != nil {
		return nil, err
	}
	body := fmt.Sprintf(`{"bookId":%q,"title":"The Old Curiosity Shop","author":"Charles Dickens","unitPrice":999,"stock":5}`, bestseller)
	if _, err := request(ctx, http.MethodPost, "http://"+s.api.addr+"/v1/books", boss, body); err != nil {
		return nil, err
	}
	all, err := callers(n)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := (&fanout{stack: s}).fill(ctx, all); err != nil {
		return nil, err
	}
	if err := stored(ctx, carts, n); err != nil {
		return nil, err
	}
	b.say("Redis and MongoDB have %d carts after %.1f s", n, time.Since(began).Seconds())
	return all, nil
}

// run reconciles all carts and returns how many it compared and healed, and for how long it ran.
func (r *reconciling) run(ctx context.Context) (compared, healed int, took time.Duration, err error) {
	type report struct {
		Running               bool
		Scope                 string
		StartedAt, FinishedAt *time.Time
		Compared, Healed      int
	}
	var before, now report
	if err := until(ctx, "end what ran before", 50*time.Millisecond, func() (bool, error) {
		err := r.ask(ctx, http.MethodGet, "/admin/reconcile", "", &before)
		return !before.Running, err
	}); err != nil {
		return 0, 0, 0, err
	}
	if err := r.ask(ctx, http.MethodPost, "/admin/reconcile", `{"scope":"all"}`, nil); err != nil {
		return 0, 0, 0, err
	}
	err = until(ctx, "reconcile", 200*time.Millisecond, func() (bool, error) {
		now = report{}
		err := r.ask(ctx, http.MethodGet, "/admin/reconcile", "", &now)
		fresh := now.StartedAt != nil && (before.StartedAt == nil || now.StartedAt.After(*before.StartedAt))
		return fresh && now.Scope == "all" && now.FinishedAt != nil && !now.Running, err
	})
	if err != nil {
		return 0, 0, 0, err
	}
	return now.Compared, now.Healed, now.FinishedAt.Sub(*now.StartedAt), nil
}

func (r *reconciling) turn(ctx context.Context, into *series) error {
	pids := []int{r.consumers.cmd.Process.Pid, r.redis.Pid()}
	used, err := cpus(pids)
	if err != nil {
		return err
	}
	compared, _, took, err := r.run(ctx)
	if err != nil {
		return err
	}
	after, err := cpus(pids)
	if err != nil {
		return err
	}
	if compared < r.n {
		return fmt.Errorf("%d of %d carts were compared", compared, r.n)
	}
	n := float64(r.n)
	into.add(n/took.Seconds(), us(after[0]-used[0])/n, us(after[1]-used[1])/n)
	return nil
}

// staleTurn takes every document back by an epoch, and measures how fast they are healed.
func (r *reconciling) staleTurn(ctx context.Context, into *series) error {
	if _, err := r.carts.UpdateMany(ctx, bson.D{}, bson.D{{Key: "$inc", Value: bson.D{{Key: "epoch", Value: -1}}}}); err != nil {
		return err
	}
	select {
	case <-time.After(time.Until(r.changed.Add(31 * time.Second))):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.turn(ctx, into); err != nil {
		return err
	}
	_, healed, _, err := r.run(ctx)
	if err == nil && healed > 0 {
		err = fmt.Errorf("%d carts were not healed", healed)
	}
	return err
}

// addsTurn lets users add for a while alone, then while all carts are compared.
func (r *reconciling) addsTurn(ctx context.Context, d time.Duration, busy, alone *series) error {
	l := load{addr: r.api.addr, callers: r.adders, connections: senders}
	add := func(into *series) error {
		m, err := l.measure(ctx, d)
		if err == nil {
			into.add(float64(len(m.latencies))/m.elapsed.Seconds(), ms(quantile(m.latencies, .5)), ms(quantile(m.latencies, .99)))
		}
		return err
	}
	if err := errors.Join(add(alone), r.relayed(ctx)); err != nil {
		return err
	}
	var over atomic.Bool
	var g errgroup.Group
	g.Go(func() error {
		for !over.Load() {
			if _, _, _, err := r.run(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	err := add(busy)
	over.Store(true)
	r.changed = time.Now()
	return errors.Join(err, g.Wait(), r.relayed(ctx))
}
