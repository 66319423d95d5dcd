package reconcile_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

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
