package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/api/cart"
	"cartstream/schemas"
)

func TestARunThatWasKilledGoesOnWhereItStood(t *testing.T) {
	b := setup(t)
	const all = 50
	for i := range all {
		b.add(fmt.Sprintf("u%02d", i), "b1")
	}
	b.relay()
	b.edit("u03", set("totalAmount", int64(1)))
	b.edit("u49", set("totalAmount", int64(1)))

	b.Page(20)
	ctx, kill := context.WithCancel(t.Context())
	var seen atomic.Int64
	b.carts.before = func(what string) error {
		if what == "digests" {
			if seen.Add(1) == 2*shards+1+1 { // two pages' looks, one second look
				kill()
			}
		}
		return nil
	}
	if _, err := b.All(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	b.carts.before = nil
	b.restart()
	b.Page(20)
	n, err := b.All(t.Context())
	must(t, err)
	if n < all || n >= all+20 {
		t.Errorf("%d carts compared in all, want each page once, and the one that was interrupted maybe twice", n)
	}
	if now := b.metric("cartstream_reconcile_carts_total", ""); now >= all {
		t.Errorf("the second run compared %d carts", now)
	}
	b.equal("u03", "u49")
	b.restart()
	if n, err := b.All(t.Context()); err != nil || n != all {
		t.Errorf("the next run compared %d carts, %v", n, err)
	}
}

// One shard that can't be asked keeps no other cart from being healed.
func TestAShardThatCantBeAskedHoldsUpNoOther(t *testing.T) {
	for claim, c := range map[string]struct {
		away  error
		fails bool
	}{
		"while it recovers":              {&cart.Unavailable{Recovering: true, Err: errors.New("fenced")}, false},
		"while its Redis doesn't answer": {&cart.Unavailable{Err: errors.New("connection refused")}, true},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			users := b.settled(20)
			for _, u := range users {
				b.add(u, "b4")
			}
			b.carts.away[0] = c.away
			_, err := b.Recent(t.Context())
			if (err != nil) != c.fails {
				t.Errorf("got %v", err)
			}
			_, err = b.All(t.Context())
			must(t, err)
			for _, u := range users {
				if behind := b.document(u).Version == 3; behind != (b.carts.ShardOf(u) == 0) {
					t.Errorf("%s is behind: %v", u, behind)
				}
			}
			b.carts.away[0] = nil
			_, err = b.Recent(t.Context())
			must(t, err)
			b.equal(users...)
		})
	}
}

// A shard that lost its data doesn't lack carts: recovery brings them back, and nothing may be decided before.
func TestNothingIsAnOrphanInAShardThatLostItsData(t *testing.T) {
	b := setup(t)
	b.settled(6)
	must(t, b.redis.FlushAll(t.Context()).Err())
	b.raise(cart.Lost)
	if _, err := b.All(t.Context()); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if b.drift() != 0 {
		t.Errorf("drift: %s", b.log)
	}
}

// What can't be healed is told each time, and keeps nothing else from it.
func TestADocumentThatNoCartCanBeIsReportedAndNotTaken(t *testing.T) {
	for claim, update := range map[string]bson.D{
		"a negative quantity":         set("items.0.quantity", int64(-1)),
		"a book twice":                set("items.0.bookId", "b2"),
		"a book that nobody can name": set("items.0.bookId", "b 1"),
		"an unknown availability":     set("items.0.availability", "maybe"),
		"a price beyond all prices":   set("items.0.unitPrice", int64(1)<<60),
		"a version beyond counting":   set("version", int64(1)<<60),
		"what can't be read":          set("items", "none"),
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.settled(5)
			b.edit("u2", update)
			b.forget("u2")
			b.add("u3", "b4")
			for range 2 {
				b.all()
			}
			b.equal("u3")
			if got := b.cart("u2"); got.Version != 0 {
				t.Errorf("taken: %s", schemas.EncodeCart(got))
			}
			if d, h := b.metric("cartstream_reconcile_drift_total", "orphan"), b.metric("cartstream_reconcile_healed_total", "orphan"); d != 2 || h != 0 {
				t.Errorf("drift %d, healed %d", d, h)
			}
		})
	}
}

func TestACartThatCantBeHealedStaysAndKeepsNoOtherWaiting(t *testing.T) {
	b := setup(t)
	users := b.settled(30)
	for _, u := range users {
		b.add(u, "b4")
	}
	real := b.sync
	b.sync = func(ctx context.Context, user string) error {
		if user == "u5" {
			return errors.New("MongoDB refuses it")
		}
		return real(ctx, user)
	}
	b.recent(30)
	for _, u := range users {
		if u != "u5" {
			b.equal(u)
		}
	}
	b.sync = real
	b.recent(1)
	b.equal("u5")
}

func TestWithoutMongoDBARunFailsAndForgetsNothing(t *testing.T) {
	b := setup(t)
	b.settled(5)
	b.add("u1", "b4")
	healthy := b.db
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1").SetServerSelectionTimeout(50 * time.Millisecond))
	must(t, err)
	b.db = client.Database("away")
	b.restart()
	for name, run := range map[string]func(context.Context) (int64, error){"recent": b.Recent, "all": b.All} {
		if _, err := run(t.Context()); err == nil {
			t.Errorf("%s: compared with nothing", name)
		}
	}
	b.db = healthy
	b.restart()
	b.recent(5)
	b.equal("u1")
}
