package cart_test

import (
	"fmt"
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestCartsArePutBackTogetherAsIfOneByOne(t *testing.T) {
	redis := enginetest.Redis(t)
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, redis)
	g := raise(t, s, cart.Lost)
	newer := stored("there")
	newer.Version++
	if err := s.PutBack(t.Context(), g, newer); err != nil {
		t.Fatal(err)
	}
	older := stored("twice")
	older.Version--
	carts := []schemas.Cart{stored("there"), {UserID: "nobody"}, stored("twice"), older, stored("last")}
	large := stored("large")
	for i := range 700 { // more than one command takes
		line := large.Items[0]
		line.BookID = fmt.Sprintf("book-%03d", i)
		large.Items = append(large.Items, line)
	}
	large.Totals = schemas.Sum(large.Items)
	if err := s.PutBack(t.Context(), g, append(carts, large)...); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]schemas.Cart{
		"there": newer, "nobody": {UserID: "nobody", Currency: "EUR", Items: []schemas.Line{}}, "twice": stored("twice"), "last": stored("last"), "large": large,
	} {
		v, err := s.Get(t.Context(), user) // a Store without a Restorer fails where a cart isn't there
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(schemas.EncodeCart(v.Cart)), string(schemas.EncodeCart(want)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", user, got, want)
		}
	}
	raise(t, s, cart.Ready)
	if w, err := s.Walks(t.Context(), 0, 1000); err != nil || len(w.Books) != 703 {
		t.Errorf("%d books wait for their walks (%v), want each once", len(w.Books), err)
	}
}
