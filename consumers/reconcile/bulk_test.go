package reconcile_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// age makes the cart's last change a minute older.
func (b *bundle) age(user string) {
	b.t.Helper()
	keys, err := b.redis.Keys(b.t.Context(), "{*}:c:"+user).Result()
	must(b.t, err)
	head, err := b.redis.HGet(b.t.Context(), keys[0], "*").Result()
	must(b.t, err)
	words := strings.Fields(head)
	at, err := strconv.ParseInt(words[6], 10, 64)
	must(b.t, err)
	words[6] = strconv.FormatInt(at-60_000, 10)
	must(b.t, b.redis.HSet(b.t.Context(), keys[0], "*", strings.Join(words, " ")).Err())
}

// Nobody waits for what should have arrived long ago.
func TestWhatIsOverdueIsHealedAtTheFirstLook(t *testing.T) {
	b := setup(t)
	b.settled(12)
	for i := range 12 {
		user := fmt.Sprintf("u%d", i)
		if i%2 == 0 {
			b.add(user, "b4")
		} else {
			_, err := b.db.Collection("carts").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: user}})
			must(t, err)
		}
		b.age(user)
	}
	b.LookAgainAfter = time.Hour
	b.Page(5)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n, err := b.All(ctx)
	must(t, err)
	if n != 12 {
		t.Errorf("%d carts compared, want 12", n)
	}
	for _, name := range []string{"cartstream_reconcile_drift_total", "cartstream_reconcile_healed_total"} {
		if behind, missing, all := b.metric(name, "behind"), b.metric(name, "missing"), b.metric(name, ""); behind != 6 || missing != 6 || all != 12 {
			t.Errorf("%s: %d behind, %d missing of %d, want 6, 6, 12", name, behind, missing, all)
		}
	}
	for i := range 12 {
		b.equal(fmt.Sprintf("u%d", i))
	}
}

// A document that moves between the look and the write is left as it is, and looked at again.
func TestWhatIsOverdueAndMovesMeanwhileNeverGoesBack(t *testing.T) {
	for claim, gone := range map[string]bool{"an old document": false, "no document": true} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			users := b.settled(6)
			for _, u := range users {
				b.add(u, "b4")
				if gone && u == "u3" {
					_, err := b.db.Collection("carts").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: u}})
					must(t, err)
				}
				b.age(u)
			}
			b.carts.afterOne = map[int]func(){b.carts.ShardOf("u3"): func() {
				b.add("u3", "b5")
				must(t, b.stored.Sync(t.Context(), "u3"))
			}}
			b.all()
			if got := b.document("u3"); got.Version != 5 {
				t.Errorf("MongoDB has version %d, want 5", got.Version)
			}
			b.equal(users...)
			if b.drift() > 5 { // not every engine tells how many it wrote
				t.Errorf("drift %d, want 5: %s", b.drift(), b.log)
			}
		})
	}
}
