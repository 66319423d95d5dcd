package cart_test

import (
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

func TestAWalkDropsWhoNoLongerHoldsTheBook(t *testing.T) {
	s, ctx := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t)), t.Context()
	raise(t, s, cart.Ready)
	for _, user := range []string{"u1", "u2"} { // has another book, and none
		if err := cart.Misplace(ctx, s, user, "emma"); err != nil {
			t.Fatal(err)
		}
	}
	do(t, func() (cart.Result, error) { return s.Add(ctx, cart.Request{User: "u1"}, "faust", 1) })
	do(t, func() (cart.Result, error) { return s.Add(ctx, cart.Request{User: "u3"}, "emma", 1) })
	expect := func(claim string, holders int, expire bool) {
		t.Helper()
		left, err := cart.Holders(ctx, s, "u1", "emma")
		if err != nil {
			t.Fatal(err)
		}
		got, err := cart.FactsExpire(ctx, s, "u1", "emma")
		if err != nil || got != expire || len(left) != holders {
			t.Errorf("%s: the index names %v, facts expire: %v, %v", claim, left, got, err)
		}
	}
	walk := func(version int64, want int) {
		t.Helper()
		if err := cart.Know(ctx, s, emmaAt(version)); err != nil {
			t.Fatal(err)
		}
		if changed := walked(t, s); changed != want {
			t.Errorf("%d carts changed", changed)
		}
	}
	walk(2, 1)
	expect("one is left who holds it", 1, false)
	if err := cart.Misplace(ctx, s, "u2", "emma"); err != nil {
		t.Fatal(err)
	}
	do(t, func() (cart.Result, error) { return s.Remove(ctx, cart.Request{User: "u3"}, "emma") })
	expect("one is left who doesn't", 1, false)
	walk(3, 0)
	expect("nobody is left", 0, true)
	if v, err := s.Get(ctx, "u1"); err != nil || v.Version != 1 || len(v.Items) != 1 {
		t.Errorf("the cart of who never held it: %+v, %v", v, err)
	}
}
