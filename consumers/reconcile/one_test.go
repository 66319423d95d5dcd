package reconcile_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestOneCartIsMadeEqualAtOnceAndCountsAsNoDrift(t *testing.T) {
	const user = "u3"
	for claim, plant := range map[string]func(b *bundle){
		"equal already":                   func(*bundle) {},
		"a document that is behind":       func(b *bundle) { b.add(user, "b4") },
		"a document that is ahead":        func(b *bundle) { b.edit(user, set("version", int64(40))) },
		"a quantity that somebody edited": func(b *bundle) { b.edit(user, set("items.1.quantity", int64(7))) },
		"a document that can't be read":   func(b *bundle) { b.edit(user, set("items", "none")) },
		"no document": func(b *bundle) {
			_, err := b.db.Collection("carts").DeleteOne(b.t.Context(), bson.D{{Key: "_id", Value: user}})
			must(b.t, err)
		},
		"no cart in Redis": func(b *bundle) { b.forget(user) },
		"a document that is ahead, which no cart can be": func(b *bundle) {
			b.edit(user, set("version", int64(40)))
			b.edit(user, set("items.1.quantity", int64(-5)))
		},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.settled(5)
			plant(b)
			must(t, b.Cart(t.Context(), user))
			b.relay() // what Redis took goes the way of every change
			b.equal(user)
			if b.drift() != 0 {
				t.Errorf("%d carts count as drift", b.drift())
			}
			must(t, b.Cart(t.Context(), "nobody"))
		})
	}
}
