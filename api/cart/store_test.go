package cart_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// shelf is a catalogue that knows everything at once.
type shelf map[string]schemas.Book

var errNoBook = errors.New("no such book")

func (s shelf) Cached(string) (schemas.Book, bool) { return schemas.Book{}, false }

func (s shelf) Lookup(_ context.Context, id string) (schemas.Book, error) {
	if b, ok := s[id]; ok {
		return b, nil
	}
	return schemas.Book{}, errNoBook
}

func (s shelf) Forget() {}

var books = shelf{
	"emma":  {BookID: "emma", Title: "Emma", UnitPrice: 1299, Status: schemas.Available, Version: 1},
	"faust": {BookID: "faust", Title: "Faust. Der Tragödie erster Teil", UnitPrice: 999_999_999, Status: schemas.Available, Version: 3},
	"gone":  {BookID: "gone", Title: "Gone", UnitPrice: 500, Status: schemas.Discontinued, Version: 2},
	"out":   {BookID: "out", Title: "Out", UnitPrice: 500, Status: schemas.OutOfStock, Version: 2},
}

// open returns a Store on the Redis at addr, with limits that tests reach.
func open(t testing.TB, change func(*cart.Options), addrs ...string) *cart.Store {
	t.Helper()
	o := cart.Options{
		Redis: &redis.UniversalOptions{Addrs: addrs, MaxRetries: -1, IsClusterMode: len(addrs) > 1,
			DialTimeout: 500 * time.Millisecond, ReadTimeout: 800 * time.Millisecond},
		Shards: 16, Currency: "EUR", Limits: cart.Limits{Quantity: 999, Lines: 500}, Catalogue: books,
		KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	s, err := cart.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// raise gives every shard a new generation, as recovery does.
func raise(t interface {
	Helper()
	Fatal(...any)
}, s *cart.Store, state cart.State) cart.Generation {
	t.Helper()
	ctx := context.Background()
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, n := range s.Nodes(ctx) {
		shards, err := n.Inspect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shards {
			g.Number = max(g.Number, s.Generation.Number+1)
		}
		if err := n.Swap(ctx, g, state, shards...); err != nil {
			t.Fatal(err)
		}
		if err := n.Load(ctx, g); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func setup(t testing.TB) *cart.Store {
	t.Helper()
	s := open(t, nil, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	return s
}

func TestACartTellsItsStory(t *testing.T) {
	s, ctx, r := setup(t), t.Context(), cart.Request{User: "u1"}
	first, err := s.Add(ctx, r, "emma", 2)
	if err != nil {
		t.Fatal(err)
	}
	c := first.Change
	if c.Version != 1 || !c.Whole || c.TotalAmount != 2598 || c.TotalQuantity != 2 || c.LineCount != 1 || c.Type != schemas.ItemAdded ||
		len(c.Items) != 1 || c.Items[0].LineTotal != 2598 || c.Items[0].Title != "Emma" {
		t.Fatalf("first change: %+v", c)
	}
	second, err := s.Set(ctx, r, "faust", 999)
	if err != nil {
		t.Fatal(err)
	}
	if c := second.Change; c.Version != 2 || c.Whole || c.TotalAmount != 2598+999*999_999_999 {
		t.Fatalf("second change: %+v", c)
	}
	v, err := s.Get(ctx, "u1")
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != 2 || len(v.Items) != 2 || v.Items[0].BookID != "emma" || v.Totals != schemas.Sum(v.Items) {
		t.Fatalf("cart: %+v", v)
	}
	if _, err := s.Remove(ctx, r, "emma"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, r, "emma"); !errors.Is(err, cart.ErrLineNotFound) {
		t.Fatalf("removing twice: %v", err)
	}
	third, err := s.Clear(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if c := third.Change; c.Version != 4 || c.Totals != (schemas.Totals{}) || !c.Whole {
		t.Fatalf("cleared: %+v", c)
	}
}

func TestAClosedStoreMayBeClosedAgain(t *testing.T) {
	s := setup(t)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
