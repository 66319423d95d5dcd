package reconcile_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

// What a relay handed to Kafka can come there after recovery read the log: persist stores it, Redis lacks it.
func TestACartThatLacksWhatKafkaHasIsComparedWithinSeconds(t *testing.T) {
	const user = "u3"
	for claim, c := range map[string]struct {
		plant  func(b *bundle)
		healed bool
	}{
		"where persist has stored it":            {func(b *bundle) { b.edit(user, set("version", int64(40))) }, true},
		"where Redis has no cart at all":         {func(b *bundle) { b.forget(user) }, true},
		"and left alone where persist is behind": {func(b *bundle) { b.add(user, "b4") }, false},
		"and left alone where it has no document": {func(b *bundle) {
			_, err := b.db.Collection("carts").DeleteOne(b.t.Context(), bson.D{{Key: "_id", Value: user}})
			must(b.t, err)
		}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.settled(5)
			c.plant(b)
			must(t, b.CompareSuspects(t.Context(), []string{user}))
			if !c.healed {
				if b.drift() != 0 {
					t.Errorf("%d carts count as drift: %s", b.drift(), b.log)
				}
				return
			}
			b.relay() // what Redis took goes the way of every change
			b.equal(user)
			if n := b.metric("cartstream_reconcile_healed_total", ""); n != 1 {
				t.Errorf("%d carts count as healed: %s", n, b.log)
			}
		})
	}
}

func TestAChangeThatRedisLostBecomesTheNextVersion(t *testing.T) {
	b := setup(t)
	b.settled(2)
	lost := b.cart("u1")
	lost.Version++
	lost.Items = append(lost.Items[:0:0], lost.Items[:2]...)
	lost.Totals = schemas.Sum(lost.Items)
	b.edit("u1", bson.D{{Key: "$set", Value: lost}})
	b.raise("ready") // as recovery does, which read the log too early
	must(t, b.CompareSuspects(t.Context(), []string{"u0", "u1"}))
	b.relay()
	b.equal("u0", "u1")
	if got := b.cart("u1"); len(got.Items) != 2 || got.Version != lost.Version+1 || got.Epoch <= lost.Epoch {
		t.Errorf("the cart is %s, want what was lost as its next version", schemas.EncodeCart(got))
	}
}

func TestWhoIsSuspectedIsComparedWhileNamed(t *testing.T) {
	b := setup(t)
	b.LookAgainAfter = 5 * time.Second
	now := time.Now()
	at := func(second int) time.Time { return now.Add(time.Duration(second) * time.Second) }
	for second := range 200 {
		if second%10 == 0 {
			b.Name("u1", at(second))
		}
		users := b.Take(at(second))
		if due := slices.Contains([]int{5, 15, 35, 75, 135, 195}, second); due != (len(users) == 1 && users[0] == "u1") || !due && len(users) > 0 {
			t.Errorf("after %d s %v are compared", second, users)
		}
	}
	if users := b.Take(at(190 + 61)); len(users) > 0 {
		t.Errorf("%v are compared though nobody names them", users)
	}
}

func TestTheNumberOfSuspectsIsBounded(t *testing.T) {
	b := setup(t)
	now := time.Now()
	for n := range 11_000 {
		b.Name(strconv.Itoa(n), now)
	}
	compared := 0
	for users := b.Take(now.Add(time.Second)); len(users) > 0; users = b.Take(now.Add(time.Second)) {
		compared += len(users)
		if len(users) > 500 {
			t.Fatalf("%d are compared at once", len(users))
		}
	}
	if compared != 10_000 {
		t.Errorf("%d are remembered, want 10,000", compared)
	}
}
