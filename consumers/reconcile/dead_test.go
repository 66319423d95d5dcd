package reconcile_test

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

// A relay names users of whom Kafka may hold what Redis lost. MongoDB has it by then, and nothing else says so.
func TestAChangeThatRedisLostIsHealedOnceARelayNamesItsUser(t *testing.T) {
	b := setup(t)
	b.settled(2)
	b.recent(2)
	before := b.cart("u1")
	lost := before
	lost.Version++
	lost.Items = append(lost.Items[:0:0], lost.Items[:2]...)
	lost.Totals = schemas.Sum(lost.Items)
	b.edit("u1", bson.D{{Key: "$set", Value: lost}})
	b.recent(0)

	b.raise("ready")
	wishes := make([]schemas.ShardWish, shards)
	for i := range wishes {
		wishes[i].Offset = -1
	}
	wishes[b.carts.ShardOf("u1")].Late = []string{"u1"}
	_, err := b.carts.Beat(t.Context(), "a", time.Second, wishes)
	must(t, err)
	b.recent(1)
	b.relay()
	b.equal("u0", "u1")
	if got := b.cart("u1"); len(got.Items) != 2 || got.Version != lost.Version+1 || got.Epoch <= lost.Epoch {
		t.Errorf("the cart is %s, want what was lost as its next version", schemas.EncodeCart(got))
	}
}
