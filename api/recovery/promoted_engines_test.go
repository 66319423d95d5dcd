//go:build engines

package recovery_test

import (
	"testing"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestAServerThatIsPromotedAgainIsRecoveredThoughItKnowsItsScripts(t *testing.T) {
	d := setupTailOn(t, enginetest.RealRedis(t).Addr)
	before, err := d.store.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "") // by a master that was promoted in between
	for _, master := range [][2]string{{"127.0.0.1", "1"}, {"NO", "ONE"}} {
		if err := d.redis.ReplicaOf(t.Context(), master[0], master[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the cart", served(d.store, "u1", 3)) // nobody tells the instance that recovers
	if v, err := d.store.Get(t.Context(), "u1"); err != nil || v.Generation <= before.Generation {
		t.Errorf("generation %d after %d (%v)", v.Generation, before.Generation, err)
	}
}
