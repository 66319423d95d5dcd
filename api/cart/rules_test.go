package cart_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestOneKeyAppliesOnce(t *testing.T) {
	s := setup(t)
	const clients = 32
	answers, replayed := make([]string, clients), make([]bool, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			r, err := s.Add(t.Context(), cart.Request{User: "u1", Key: "order-1"}, "emma", 3)
			if err != nil {
				t.Error(err)
				return
			}
			answers[i], replayed[i] = string(schemas.EncodeCartChanged(r.Change)), r.Replayed
		})
	}
	all.Wait()
	first := 0
	for i := range clients {
		if answers[i] != answers[0] {
			t.Errorf("answer %d is %s, the first %s", i, answers[i], answers[0])
		}
		if !replayed[i] {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d answers claim to be the first", first)
	}
	if v, err := s.Get(t.Context(), "u1"); err != nil || v.Version != 1 || v.TotalQuantity != 3 {
		t.Errorf("%+v, %v; want one change", v, err)
	}
	if _, err := s.Add(t.Context(), cart.Request{User: "u1", Key: "order-1"}, "emma", 4); !errors.Is(err, cart.ErrKeyReused) {
		t.Errorf("another request under the key: %v", err)
	}
	if r, err := s.Add(t.Context(), cart.Request{User: "u2", Key: "order-1"}, "emma", 4); err != nil || r.Replayed {
		t.Errorf("another user's key: %+v, %v", r, err)
	}
}

func TestARefusedRequestMayBeSentAgainUnderItsKey(t *testing.T) {
	s := setup(t)
	r := cart.Request{User: "u1", Key: "k"}
	if _, err := s.Remove(t.Context(), r, "emma"); !errors.Is(err, cart.ErrLineNotFound) {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Remove(t.Context(), r, "emma"); err != nil || got.Replayed {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestUnavailableBooksCanBeLoweredAndRemovedOnly(t *testing.T) {
	for _, status := range []schemas.Availability{schemas.OutOfStock, schemas.Discontinued} {
		t.Run(string(status), func(t *testing.T) {
			s, ctx, r := setup(t), t.Context(), cart.Request{User: "u1"}
			if _, err := s.Set(ctx, r, "emma", 5); err != nil {
				t.Fatal(err)
			}
			if err := cart.Know(ctx, s, schemas.Book{BookID: "emma", Title: "Emma", UnitPrice: 1299, Status: status, Version: 2}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Add(ctx, r, "emma", 1); !errors.Is(err, cart.ErrBookUnavailable) {
				t.Errorf("adding: %v", err)
			}
			if _, err := s.Set(ctx, r, "emma", 6); !errors.Is(err, cart.ErrBookUnavailable) {
				t.Errorf("raising: %v", err)
			}
			low, err := s.Set(ctx, r, "emma", 2)
			if err != nil {
				t.Fatal(err)
			}
			if c := low.Change; c.Items[0].Availability != status || c.TotalAmount != 0 || c.TotalQuantity != 0 || c.LineCount != 1 || c.Items[0].LineTotal != 2598 {
				t.Errorf("lowered: %+v", c)
			}
			if _, err := s.Remove(ctx, r, "emma"); err != nil {
				t.Errorf("removing: %v", err)
			}
		})
	}
}

func TestFactsThatNobodyHoldsExpire(t *testing.T) {
	s, ctx := setup(t), t.Context()
	expire := func(want bool) {
		t.Helper()
		if got, err := cart.FactsExpire(ctx, s, "u1", "emma"); err != nil || got != want {
			t.Fatalf("facts expire: %v (%v), want %v", got, err, want)
		}
	}
	steps := []struct {
		do   func() (cart.Result, error)
		want bool
	}{
		{func() (cart.Result, error) { return s.Add(ctx, cart.Request{User: "u1"}, "emma", 1) }, false},
		{func() (cart.Result, error) { return s.Remove(ctx, cart.Request{User: "u1"}, "emma") }, true},
		{func() (cart.Result, error) { return s.Add(ctx, cart.Request{User: "u1"}, "emma", 1) }, false},
		{func() (cart.Result, error) { return s.Clear(ctx, cart.Request{User: "u1"}) }, true},
	}
	for _, step := range steps {
		if _, err := step.do(); err != nil {
			t.Fatal(err)
		}
		expire(step.want)
	}
}

func TestTheLargestCartIsExact(t *testing.T) {
	catalogue := shelf{}
	for i := range 500 {
		id := fmt.Sprintf("b%03d", i)
		catalogue[id] = schemas.Book{BookID: id, Title: strings.Repeat("𝄞", 500), UnitPrice: 999_999_999, Status: schemas.Available, Version: 1}
	}
	s := open(t, func(o *cart.Options) { o.Catalogue = catalogue }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	ctx, r := t.Context(), cart.Request{User: "u1"}
	for id := range catalogue {
		if _, err := s.Set(ctx, r, id, 999); err != nil {
			t.Fatal(err)
		}
	}
	raise(t, s, cart.Ready) // so that the next change carries every line
	change, err := s.Set(ctx, r, "b000", 998)
	if err != nil {
		t.Fatal(err)
	}
	const amount = (500*999 - 1) * 999_999_999
	if c := change.Change; !c.Whole || len(c.Items) != 500 || c.TotalAmount != amount || c.TotalQuantity != 500*999-1 {
		t.Fatalf("whole %v, %d lines, amount %d, want %d", c.Whole, len(c.Items), c.TotalAmount, int64(amount))
	}
	v, err := s.Get(ctx, "u1")
	if err != nil || v.Totals != schemas.Sum(v.Items) || v.TotalAmount != amount {
		t.Fatalf("%+v (%v), want the sum %+v", v.Totals, err, schemas.Sum(v.Items))
	}
	if _, err := s.Add(ctx, r, "b000", 2); !errors.Is(err, cart.ErrQuantityLimit) {
		t.Errorf("over the quantity: %v", err)
	}
	catalogue["more"] = schemas.Book{BookID: "more", Title: "More", Status: schemas.Available, Version: 1}
	if _, err := s.Add(ctx, r, "more", 1); !errors.Is(err, cart.ErrLineLimit) {
		t.Errorf("over the lines: %v", err)
	}
}

// cache is a catalogue that has seen its books a moment ago.
type cache struct{ shelf }

func (c cache) Cached(id string) (schemas.Book, bool) {
	b, ok := c.shelf[id]
	return b, ok
}

func TestTheNewestFactsWin(t *testing.T) {
	for claim, c := range map[string]struct{ cached, shard, price int64 }{
		"the cache's where the shard's are older": {cached: 3, shard: 2, price: 3},
		"the shard's where the cache's are older": {cached: 2, shard: 3, price: 3},
		"the cache's where the shard has none":    {cached: 3, price: 3},
	} {
		t.Run(claim, func(t *testing.T) {
			at := func(version int64) schemas.Book {
				return schemas.Book{BookID: "b", Title: "B", UnitPrice: version, Status: schemas.Available, Version: version}
			}
			s := open(t, func(o *cart.Options) { o.Catalogue = cache{shelf{"b": at(c.cached)}} }, enginetest.Redis(t))
			raise(t, s, cart.Ready)
			if c.shard > 0 {
				if err := cart.Know(t.Context(), s, at(c.shard)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // as a new line, and as one that is there
				r, err := s.Add(t.Context(), cart.Request{User: "u1"}, "b", 1)
				if err != nil || r.Change.Items[0].UnitPrice != c.price {
					t.Fatalf("%+v, %v; want price %d", r.Change, err, c.price)
				}
			}
		})
	}
}
