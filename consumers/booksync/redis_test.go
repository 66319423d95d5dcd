package booksync_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/consumers/booksync"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// shelf is the catalogue that carts and booksync share.
type shelf struct {
	mu    sync.Mutex
	books map[string]schemas.Book
}

// put changes a book and returns the record that says so.
func (s *shelf) put(id string, change func(*schemas.Book)) runner.Record[schemas.BookChanged] {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books[id]
	if b.BookID == "" {
		b = schemas.Book{BookID: id, Title: id, UnitPrice: 1000, Currency: "EUR", Stock: 1, Status: schemas.Available}
	}
	change(&b)
	b.Version++
	s.books[id] = b
	r := record(id, b.Version)
	r.Value = b.Event(schemas.BookUpdated, schemas.At(time.Now()))
	return r
}

func (s *shelf) get(id string) schemas.Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.books[id]
}

func (s *shelf) Books(_ context.Context, ids []string) (found []schemas.Book, _ error) {
	for _, id := range ids {
		if b := s.get(id); b.BookID != "" {
			found = append(found, b)
		}
	}
	return found, nil
}

// Cached knows nothing, so that an add asks for the book and is late with what it got.
func (s *shelf) Cached(string) (schemas.Book, bool) { return schemas.Book{}, false }
func (s *shelf) Forget()                            {}

func (s *shelf) Lookup(_ context.Context, id string) (schemas.Book, error) {
	if b := s.get(id); b.BookID != "" {
		return b, nil
	}
	return schemas.Book{}, errors.New("no such book")
}

// store is carts on a Redis of their own, in step with a shelf.
type store struct {
	*cart.Store
	t        *testing.T
	shelf    *shelf
	consumer runner.Consumer[schemas.BookChanged]
}

// onRedis returns carts whose books follow the shelf until the test ends.
func onRedis(t *testing.T, addrs ...string) *store {
	t.Helper()
	s := &store{t: t, shelf: &shelf{books: map[string]schemas.Book{}}}
	var err error
	s.Store, err = cart.Open(cart.Options{
		Redis: &redis.UniversalOptions{Addrs: addrs, MaxRetries: -1, IsClusterMode: len(addrs) > 1,
			DialTimeout: 500 * time.Millisecond, ReadTimeout: 800 * time.Millisecond},
		Shards: 16, Currency: "EUR", Limits: cart.Limits{Quantity: 999, Lines: 500}, Catalogue: s.shelf,
		KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	s.raise()
	fanout := booksync.New(s, s.shelf, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	s.consumer = booksync.Consumer(fanout)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- fanout.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	return s
}

// raise gives every shard a new generation, as recovery does.
func (s *store) raise() {
	s.t.Helper()
	ctx := context.Background()
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, n := range s.Nodes(ctx) {
		shards, err := n.Inspect(ctx)
		must(s.t, err)
		for _, shard := range shards {
			g.Number = max(g.Number, shard.Generation.Number+1)
		}
		must(s.t, n.Swap(ctx, g, cart.Ready, shards...))
		must(s.t, n.Load(ctx, g))
		must(s.t, n.Close())
	}
}

func (s *store) handle(batch ...runner.Record[schemas.BookChanged]) {
	s.t.Helper()
	must(s.t, s.consumer.Handle(context.Background(), batch))
}

// follow waits until every user's cart shows the book as the shelf has it, where it holds it at all.
func (s *store) follow(book string, users []string) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := ""
		for _, user := range users {
			v, err := s.Get(s.t.Context(), user)
			must(s.t, err)
			if v.Totals != schemas.Sum(v.Items) {
				s.t.Fatalf("totals of %s: %+v, its lines add up to %+v", user, v.Totals, schemas.Sum(v.Items))
			}
			b := s.shelf.get(book)
			for _, l := range v.Items {
				if l.BookID == book && (l.UnitPrice != b.UnitPrice || l.Title != b.Title || l.Availability != b.Status) {
					wrong = fmt.Sprintf("%s shows %+v, the shelf has %+v", user, l, b)
				}
			}
		}
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatal(wrong)
		}
	}
}

func users(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("u", i)
	}
	return all
}

func TestCartsFollowTheirBooksOnRedis(t *testing.T) {
	s, all := onRedis(t, enginetest.Redis(t)), users(300)
	s.handle(s.shelf.put("b1", func(*schemas.Book) {}))
	for _, user := range all {
		_, err := s.Add(t.Context(), cart.Request{User: user}, "b1", 2)
		must(t, err)
	}
	for claim, change := range map[string]func(*schemas.Book){
		"a price":        func(b *schemas.Book) { b.UnitPrice = 1500 },
		"a title":        func(b *schemas.Book) { b.Title = "Emma, revised" },
		"out of stock":   func(b *schemas.Book) { b.Stock, b.Status = 0, schemas.OutOfStock },
		"back in stock":  func(b *schemas.Book) { b.Stock, b.Status = 3, schemas.Available },
		"discontinued":   func(b *schemas.Book) { b.Status = schemas.Discontinued },
		"all at once":    func(b *schemas.Book) { b.UnitPrice, b.Title, b.Status = 7, "Emma", schemas.OutOfStock },
		"nothing to see": func(b *schemas.Book) { b.Author = "Jane Austen" },
	} {
		t.Run(claim, func(*testing.T) {
			s.handle(s.shelf.put("b1", change))
			s.follow("b1", all)
		})
	}
}

// The tight loop: adds with older facts in hand, changes of the price, and walks, all at once.
func TestAnAddThatRacesAChangeEndsAtTheNewestFacts(t *testing.T) {
	s, all := onRedis(t, enginetest.Redis(t)), users(24)
	s.handle(s.shelf.put("b1", func(*schemas.Book) {}))
	var racing sync.WaitGroup
	over := make(chan struct{})
	for _, user := range all {
		racing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				var err error
				switch rand.IntN(3) {
				case 0:
					_, err = s.Add(context.Background(), cart.Request{User: user}, "b1", 1)
				case 1:
					_, err = s.Set(context.Background(), cart.Request{User: user}, "b1", rand.Int64N(3))
				default:
					_, err = s.Remove(context.Background(), cart.Request{User: user}, "b1")
				}
				switch {
				case err == nil, errors.Is(err, cart.ErrLineNotFound), errors.Is(err, cart.ErrBookUnavailable), errors.Is(err, cart.ErrQuantityLimit):
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		s.handle(s.shelf.put("b1", func(b *schemas.Book) {
			b.UnitPrice = rand.Int64N(5000)
			b.Status = schemas.Available
			if i%7 == 0 {
				b.Status = schemas.OutOfStock
			}
		}))
	}
	close(over)
	racing.Wait()
	s.follow("b1", all)
	for _, user := range all { // else the last change might have met empty carts
		if _, err := s.Set(t.Context(), cart.Request{User: user}, "b1", 1); err != nil && !strings.Contains(err.Error(), "unavailable") {
			t.Fatal(err)
		}
	}
	s.handle(s.shelf.put("b1", func(b *schemas.Book) { b.UnitPrice = 4711 }))
	s.follow("b1", all)
}

func TestAWalkIsDroppedOnlyWhereTheShardKnowsNothing(t *testing.T) {
	s := onRedis(t, enginetest.Redis(t))
	shard := s.ShardOf("u1")
	s.handle(s.shelf.put("b1", func(*schemas.Book) {}))
	_, err := s.Add(t.Context(), cart.Request{User: "u1"}, "b1", 1)
	must(t, err)
	// Learned directly, so that the walk waits until the next look, a second from the last one at most.
	s.shelf.put("b1", func(b *schemas.Book) { b.UnitPrice = 4711 })
	_, err = s.Learn(t.Context(), shard, []schemas.Book{s.shelf.get("b1")})
	must(t, err)
	must(t, s.DropWalk(t.Context(), shard, "b1"))
	s.follow("b1", []string{"u1"})
}
