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

func TestCartsThatAreEqualAreLeftAlone(t *testing.T) {
	b := setup(t)
	users := b.settled(20)
	b.recent(20)
	b.recent(0) // none changed since
	b.all()
	if b.drift() != 0 {
		t.Errorf("drift: %s", b.log)
	}
	b.equal(users...)
	before := b.cart("u3")
	if after := b.cart("u3"); after.Version != before.Version {
		t.Error("comparing changed a cart")
	}
}

// Whatever differs is healed by both kinds of runs, where they come across it.
func TestDriftIsHealed(t *testing.T) {
	const user = "u7"
	for claim, c := range map[string]struct {
		plant func(b *bundle)
		kind  string
		// recent says that the run over changed carts comes across it.
		recent bool
		check  func(t *testing.T, was, is schemas.Cart)
	}{
		"a document that is behind": {
			plant: func(b *bundle) { b.add(user, "b4") }, kind: "behind", recent: true,
		},
		"a document that is missing": {
			plant: func(b *bundle) {
				_, err := b.db.Collection("carts").DeleteOne(b.t.Context(), bson.D{{Key: "_id", Value: user}})
				must(b.t, err)
			}, kind: "missing",
		},
		"a new cart's document that is missing": {
			plant: func(b *bundle) { b.add("new", "b1") }, kind: "missing", recent: true,
		},
		"a document that is ahead": {
			plant: func(b *bundle) { b.edit(user, set("version", int64(40))) }, kind: "ahead",
			check: func(t *testing.T, _, is schemas.Cart) {
				if is.Version != 41 || len(is.Items) != 3 {
					t.Errorf("Redis took %s", schemas.EncodeCart(is))
				}
			},
		},
		"a document of a higher epoch": {
			plant: func(b *bundle) { b.edit(user, set("epoch", b.cart(user).Epoch+1)) }, kind: "ahead",
		},
		"a cart that Redis doesn't have": {
			plant: func(b *bundle) { b.forget(user) }, kind: "orphan",
			check: func(t *testing.T, was, is schemas.Cart) {
				if is.Version != was.Version+1 || is.TotalAmount != was.TotalAmount || len(is.Items) != 3 {
					t.Errorf("Redis took %s", schemas.EncodeCart(is))
				}
			},
		},
		"a quantity that somebody edited": {
			plant: func(b *bundle) { b.edit(user, set("items.1.quantity", int64(7))) }, kind: "content",
		},
		"a total that is wrong": {
			plant: func(b *bundle) { b.edit(user, set("totalAmount", int64(1))) }, kind: "content",
		},
		"a line that is gone": {
			plant: func(b *bundle) { b.edit(user, set("items", bson.A{})) }, kind: "content",
		},
		"a document that can't be read": {
			plant: func(b *bundle) { b.edit(user, set("items", "none")) }, kind: "content",
		},
		"a document without a version": {
			plant: func(b *bundle) {
				b.edit(user, bson.D{{Key: "$unset", Value: bson.D{{Key: "version", Value: ""}}}})
			}, kind: "content",
		},
		"content that differs in a cart that changed": {
			plant: func(b *bundle) {
				b.edit(user, set("items.0.unitPrice", int64(5)))
				b.add(user, "b4")
				b.relay()
			}, kind: "content", recent: true,
		},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			users := b.settled(12)
			was := b.cart(user)
			c.plant(b)
			if c.recent {
				_, err := b.Recent(t.Context())
				must(t, err)
			} else {
				b.all()
			}
			b.relay() // what Redis took goes the way of every change
			b.equal(users...)
			for name, what := range map[string]string{"drift": "cartstream_reconcile_drift_total", "healed": "cartstream_reconcile_healed_total"} {
				if one, all := b.metric(what, c.kind), b.metric(what, ""); one != 1 || all != 1 {
					t.Errorf("%s: %d of kind %s, %d of all kinds", name, one, c.kind, all)
				}
			}
			if c.check != nil {
				c.check(t, was, b.cart(user))
			}
			b.restart()
			b.all()
			_, err := b.Recent(t.Context())
			must(t, err)
			if b.drift() != 0 {
				t.Errorf("it still drifts: %s", b.log)
			}
		})
	}
}

// A change that reaches MongoDB between the two looks was on its way.
func TestAChangeInFlightIsNoDrift(t *testing.T) {
	for claim, c := range map[string]struct {
		user             string
		first, meanwhile func(b *bundle)
	}{
		"a change":                        {"u1", func(b *bundle) { b.add("u1", "b4") }, func(b *bundle) { b.relay() }},
		"the first change of a new user":  {"new", func(b *bundle) { b.add("new", "b4") }, func(b *bundle) { b.relay() }},
		"one that is followed by another": {"u1", func(b *bundle) { b.add("u1", "b4") }, func(b *bundle) { b.relay(); b.add("u1", "b5") }},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.settled(5)
			c.first(b)
			b.carts.afterOne = map[int]func(){b.carts.ShardOf(c.user): func() { c.meanwhile(b) }}
			_, err := b.Recent(t.Context())
			must(t, err)
			if b.drift() != 0 {
				t.Errorf("drift: %s", b.log)
			}
		})
	}
}

// A newer change reaches MongoDB just before a document is replaced: it must not go back.
func TestADocumentThatMovedOnIsNotReplaced(t *testing.T) {
	b := setup(t)
	b.settled(3)
	b.edit("u1", set("items.0.quantity", int64(9)))
	b.carts.afterGet = func() {
		b.add("u1", "b4")
		b.relay()
	}
	b.all()
	if got := b.document("u1"); got.Version != 4 || b.drift() != 0 {
		t.Errorf("MongoDB has version %d, drift %d", got.Version, b.drift())
	}
	b.all()
	b.equal("u1")
}

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
