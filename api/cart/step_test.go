package cart_test

import (
	"fmt"
	"strings"
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
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

func TestAStepEndsOnceItHasWrittenMuch(t *testing.T) {
	short, long := "Emma", strings.Repeat("𝄞", 500)
	for claim, c := range map[string]struct {
		title        string
		carts, lines int
		raised       bool // the change carries all lines
		want         cart.Step
	}{
		"short titles":                  {short, 60, 1, false, cart.Step{State: cart.WalkDone, Seen: 60, Changed: 60}},
		"the longest titles":            {long, 60, 1, false, cart.Step{State: cart.WalkOn, Seen: 33, Changed: 33}},
		"whole carts":                   {short, 4, 40, true, cart.Step{State: cart.WalkOn, Seen: 3, Changed: 3}},
		"whole carts of long titles":    {long, 4, 40, true, cart.Step{State: cart.WalkOn, Seen: 1, Changed: 1}},
		"carts of long titles, changed": {long, 4, 40, false, cart.Step{State: cart.WalkDone, Seen: 4, Changed: 4}},
	} {
		t.Run(claim, func(t *testing.T) {
			emma := schemas.Book{BookID: "emma", Title: c.title, UnitPrice: 1000, Status: schemas.Available, Version: 1}
			all := shelf{"emma": emma}
			for i := 1; i < c.lines; i++ {
				b := emma
				b.BookID = fmt.Sprint("b", i)
				all[b.BookID] = b
			}
			s := open(t, func(o *cart.Options) { o.Shards, o.Catalogue = 1, all }, enginetest.Redis(t))
			raise(t, s, cart.Ready)
			for u := range c.carts {
				for id := range all {
					do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: fmt.Sprint("u", u)}, id, 1) })
				}
			}
			if c.raised {
				raise(t, s, cart.Ready)
				if _, err := s.Walks(t.Context(), 0, 1); err != nil { // the Store knows of it now
					t.Fatal(err)
				}
			}
			emma.UnitPrice, emma.Version = 1100, 2
			if err := cart.Know(t.Context(), s, emma); err != nil {
				t.Fatal(err)
			}
			step, err := s.Step(t.Context(), 0, "emma", "one", 100)
			if err != nil || step != c.want {
				t.Errorf("the first step: %+v, %v", step, err)
			}
			if changed := step.Changed + walked(t, s); changed != c.carts {
				t.Errorf("%d carts changed in the end", changed)
			}
		})
	}
}
