package cart_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// stale is a catalogue whose cache stays behind by up to some versions.
type stale struct{ newest atomic.Int64 }

func emmaAt(version int64) schemas.Book {
	return schemas.Book{BookID: "emma", Title: "Emma", UnitPrice: 1000 + version, Status: schemas.Available, Version: version}
}

func (s *stale) Cached(string) (schemas.Book, bool) { return emmaAt(max(1, s.newest.Load()-3)), true }
func (s *stale) Lookup(context.Context, string) (schemas.Book, error) {
	return emmaAt(s.newest.Load()), nil
}
func (s *stale) Forget() {}

// walked takes every walk of every shard to its end, and returns how many carts changed.
func walked(t *testing.T, s *cart.Store) (changed int) {
	t.Helper()
	for shard := range s.Shards() {
		w, err := s.Walks(t.Context(), shard, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, book := range w.Books {
			for {
				step, err := s.Step(t.Context(), shard, book, "one", 7)
				if err != nil {
					t.Fatal(err)
				}
				changed += step.Changed
				if step.State == cart.WalkDone {
					break
				}
				if step.State != cart.WalkOn {
					t.Fatalf("the walk over %s in shard %d is %s", book, shard, step.State)
				}
			}
		}
	}
	return changed
}

func TestAddsThatRaceAChangeEndAtTheNewestPrice(t *testing.T) {
	const users, versions = 8, 150
	catalogue := &stale{}
	catalogue.newest.Store(1)
	s := open(t, func(o *cart.Options) { o.Shards, o.Catalogue, o.Limits.Quantity = 2, catalogue, 1_000_000 }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	ctx, stop := context.WithCancel(t.Context())
	var adding sync.WaitGroup
	for u := range users {
		r := cart.Request{User: fmt.Sprint("u", u)}
		adding.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var err error
				if i%5 == 4 {
					_, err = s.Remove(t.Context(), r, "emma")
				} else {
					_, err = s.Add(t.Context(), r, "emma", 1)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var walking sync.WaitGroup
	walking.Go(func() {
		for ctx.Err() == nil {
			walked(t, s)
		}
	})
	for version := int64(2); version <= versions; version++ {
		catalogue.newest.Store(version)
		if err := cart.Know(t.Context(), s, emmaAt(version)); err != nil {
			t.Error(err)
		}
	}
	stop()
	adding.Wait()
	walking.Wait()
	walked(t, s)
	for u := range users {
		v, err := s.Get(t.Context(), fmt.Sprint("u", u))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range v.Items {
			if l.UnitPrice != 1000+versions {
				t.Errorf("%s holds %+v, the newest price is %d", v.UserID, l, 1000+versions)
			}
		}
		if v.Totals != schemas.Sum(v.Items) {
			t.Errorf("%s: %+v of %+v", v.UserID, v.Totals, v.Items)
		}
	}
}

func TestABookTellsItsStoryInACart(t *testing.T) {
	s, ctx, r := setup(t), t.Context(), cart.Request{User: "u1"}
	if _, err := s.Add(ctx, r, "emma", 2); err != nil {
		t.Fatal(err)
	}
	old := func(p int64) *int64 { return &p }
	version := int64(1)
	for _, c := range []struct {
		claim    string
		price    int64
		title    string
		status   schemas.Availability
		do       func(context.Context, cart.Request, string) (cart.Result, error)
		previous *int64
		amount   int64
		emits    bool
	}{
		{"what nobody sees emits nothing", 1299, "Emma", schemas.Available, nil, nil, 2598, false},
		{"a higher price shows the one that was seen", 1399, "Emma", schemas.Available, nil, old(1299), 2798, true},
		{"a higher one still the same", 1499, "Emma", schemas.Available, nil, old(1299), 2998, true},
		{"another title leaves it", 1499, "Emma. A Novel", schemas.Available, nil, old(1299), 2998, true},
		{"the price that was seen takes it away", 1299, "Emma. A Novel", schemas.Available, nil, nil, 2598, true},
		{"a lower price shows it again", 999, "Emma. A Novel", schemas.Available, nil, old(1299), 1998, true},
		{"out of stock leaves the totals", 999, "Emma. A Novel", schemas.OutOfStock, nil, old(1299), 0, true},
		{"discontinued, too", 999, "Emma. A Novel", schemas.Discontinued, nil, old(1299), 0, true},
		{"back again", 999, "Emma. A Novel", schemas.Available, nil, old(1299), 1998, true},
		{"what was acknowledged is seen", 999, "Emma. A Novel", schemas.Available, s.Acknowledge, nil, 1998, true},
	} {
		version++
		if err := cart.Know(ctx, s, schemas.Book{BookID: "emma", Title: c.title, UnitPrice: c.price, Status: c.status, Version: version}); err != nil {
			t.Fatal(err)
		}
		before, err := s.Get(ctx, "u1")
		if err != nil {
			t.Fatal(err)
		}
		walked(t, s)
		if c.do != nil {
			if _, err := c.do(ctx, r, "emma"); err != nil {
				t.Fatal(err)
			}
		}
		v, err := s.Get(ctx, "u1")
		if err != nil {
			t.Fatal(err)
		}
		l := v.Items[0]
		if l.UnitPrice != c.price || l.Title != c.title || l.Availability != c.status || l.Quantity != 2 || l.LineTotal != 2*c.price ||
			(l.PreviousUnitPrice == nil) != (c.previous == nil) || c.previous != nil && *l.PreviousUnitPrice != *c.previous ||
			v.TotalAmount != c.amount || v.LineCount != 1 || (v.Version > before.Version) != c.emits {
			t.Errorf("%s: %+v of a cart of %+v at version %d after %d", c.claim, l, v.Totals, v.Version, before.Version)
		}
	}
}

// A walk that comes later finds the newest price in the line, and tells of nothing.
func TestAChangeThatFindsANewPriceShowsTheOneSeen(t *testing.T) {
	for claim, change := range map[string]func(context.Context, *cart.Store) (cart.Result, error){
		"added again": func(ctx context.Context, s *cart.Store) (cart.Result, error) {
			return s.Add(ctx, cart.Request{User: "u"}, "emma", 1)
		},
		"set to more": func(ctx context.Context, s *cart.Store) (cart.Result, error) {
			return s.Set(ctx, cart.Request{User: "u"}, "emma", 3)
		},
		"set to less": func(ctx context.Context, s *cart.Store) (cart.Result, error) {
			return s.Set(ctx, cart.Request{User: "u"}, "emma", 1)
		},
	} {
		t.Run(claim, func(t *testing.T) {
			s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
			raise(t, s, cart.Ready)
			first, err := s.Add(t.Context(), cart.Request{User: "u"}, "emma", 2)
			if err != nil {
				t.Fatal(err)
			}
			seen := first.Change.Items[0].UnitPrice
			if err := cart.Know(t.Context(), s, emmaAt(7)); err != nil {
				t.Fatal(err)
			}
			r, err := change(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			l := r.Change.Items[0]
			if was := l.PreviousUnitPrice; l.UnitPrice != 1007 || was == nil || *was != seen {
				t.Fatalf("%+v, want the price seen, %d, beside the new one", l, seen)
			}
			r, err = s.Set(t.Context(), cart.Request{User: "u"}, "emma", 9)
			if err != nil || r.Change.Items[0].PreviousUnitPrice != nil {
				t.Errorf("changed once more: %+v, %v", r.Change.Items, err)
			}
		})
	}
}

func TestAWalkBelongsToOneInstance(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	for u := range 4 {
		if _, err := s.Add(t.Context(), cart.Request{User: fmt.Sprint("u", u)}, "emma", 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := cart.Know(t.Context(), s, emmaAt(2)); err != nil {
		t.Fatal(err)
	}
	if step, err := s.Step(t.Context(), 0, "emma", "one", 2); err != nil || step != (cart.Step{State: cart.WalkOn, Seen: 2, Changed: 2}) {
		t.Fatalf("%+v, %v", step, err)
	}
	if step, err := s.Step(t.Context(), 0, "emma", "two", 2); err != nil || step.State != cart.WalkBusy {
		t.Fatalf("another instance's step: %+v, %v", step, err)
	}
	if step, err := s.Step(t.Context(), 0, "emma", "one", 9); err != nil || step != (cart.Step{State: cart.WalkDone, Seen: 2, Changed: 2}) {
		t.Fatalf("%+v, %v", step, err)
	}
	if w, err := s.Walks(t.Context(), 0, 9); err != nil || len(w.Books) > 0 {
		t.Fatalf("after its end the walk still waits: %+v, %v", w, err)
	}
}

func TestAWalkForWhichThereAreNoFactsSaysSo(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
	g := raise(t, s, cart.Lost)
	ctx := t.Context()
	line := schemas.Line{BookID: "emma", Title: "Emma", UnitPrice: 900, Quantity: 1, LineTotal: 900, Availability: schemas.Available}
	when := schemas.Milliseconds(1795341600000)
	stored := schemas.Cart{UserID: "u1", Epoch: 1, Version: 5, Currency: "EUR", Items: []schemas.Line{line},
		Totals: schemas.Sum([]schemas.Line{line}), UpdatedAt: &when}
	if err := s.PutBack(ctx, g, stored); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Walks(ctx, 0, 9); err != nil || len(w.Books) > 0 {
		t.Fatalf("a shard that has not got its carts back is walked over: %+v, %v", w, err)
	}
	raise(t, s, cart.Ready)
	w, err := s.Walks(ctx, 0, 9)
	if err != nil || len(w.Books) != 1 || w.Books[0] != "emma" {
		t.Fatalf("a restored cart asks for its book: %+v, %v", w, err)
	}
	if step, err := s.Step(ctx, 0, "emma", "one", 9); err != nil || step.State != cart.WalkUnknown {
		t.Fatalf("%+v, %v", step, err)
	}
	if known, next, err := s.Known(ctx, 0, "", 10); err != nil || next != "" || len(known) != 1 || known[0] != (cart.KnownBook{BookID: "emma"}) {
		t.Fatalf("known books: %+v, %q, %v", known, next, err)
	}
	if queued, err := s.Learn(ctx, 0, []schemas.Book{books["emma"]}); err != nil || queued != 1 {
		t.Fatalf("%d walks, %v", queued, err)
	}
	if changed := walked(t, s); changed != 1 {
		t.Fatalf("%d carts changed", changed)
	}
	if v, err := s.Get(ctx, "u1"); err != nil || v.Version != 6 || v.Items[0].UnitPrice != 1299 || *v.Items[0].PreviousUnitPrice != 900 {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := s.PutBack(ctx, g, stored); !errors.Is(err, cart.ErrOvertaken) {
		t.Fatalf("a restore under an old generation: %v", err)
	}
}

func TestARefreshStandsUntilItIsDone(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
	g := raise(t, s, cart.Ready)
	n := s.Nodes(t.Context())[0]
	defer n.Close()
	if err := n.Opened(t.Context(), g, cart.Ready, 0); err != nil {
		t.Fatal(err)
	}
	do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1) })
	if err := cart.Know(t.Context(), s, emmaAt(2)); err != nil {
		t.Fatal(err)
	}
	if step, err := s.Step(t.Context(), 0, "emma", "one", 9); err != nil || step.State != cart.WalkPaused {
		t.Fatalf("a walk before the refresh: %+v, %v", step, err)
	}
	if err := s.Refreshed(t.Context(), 0, "an earlier one"); err != nil {
		t.Fatal(err)
	}
	w, err := s.Walks(t.Context(), 0, 9)
	if err != nil || w.Refresh == "" || len(w.Books) > 0 {
		t.Fatalf("%+v, %v", w, err)
	}
	if err := s.Refreshed(t.Context(), 0, w.Refresh); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Walks(t.Context(), 0, 9); err != nil || w.Refresh != "" || len(w.Books) != 1 {
		t.Fatalf("%+v, %v", w, err)
	}
}

func TestKnownBooksAreListedOnceAndForgottenAtTheEnd(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	want := map[string]int64{}
	var all []schemas.Book
	for i := range 25 {
		b := schemas.Book{BookID: fmt.Sprintf("b%02d", i), Title: "x", Status: schemas.Available, Version: int64(i + 1)}
		all, want[b.BookID] = append(all, b), b.Version
	}
	if _, err := s.Learn(t.Context(), 0, all); err != nil {
		t.Fatal(err)
	}
	after := ""
	for {
		known, next, err := s.Known(t.Context(), 0, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range known {
			if want[k.BookID] != k.Version {
				t.Errorf("%+v, want version %d", k, want[k.BookID])
			}
			delete(want, k.BookID)
		}
		if after = next; next == "" {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("never listed: %v", want)
	}
}

// forgetful has a cache that is behind until it is told to forget.
type forgetful struct {
	stale
	forgot atomic.Bool
}

func (f *forgetful) Cached(string) (schemas.Book, bool) { return emmaAt(1), !f.forgot.Load() }
func (f *forgetful) Forget()                            { f.forgot.Store(true) }

func TestWhatWasCachedUnderAGenerationIsNotOfferedToTheNext(t *testing.T) {
	catalogue, addr := &forgetful{}, enginetest.Redis(t)
	catalogue.newest.Store(2)
	s := open(t, func(o *cart.Options) { o.Catalogue = catalogue }, addr)
	raise(t, s, cart.Ready)
	r := cart.Request{User: "u1"}
	if _, err := s.Remove(t.Context(), r, "emma"); !errors.Is(err, cart.ErrLineNotFound) { // the generation is known now
		t.Fatal(err)
	}
	catalogue.forgot.Store(false)
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	raise(t, open(t, nil, addr), cart.Ready)
	c := do(t, func() (cart.Result, error) { return s.Add(t.Context(), r, "emma", 1) })
	if c.Items[0].UnitPrice != 1002 {
		t.Fatalf("%+v, want the price of version 2", c.Items[0])
	}
}
