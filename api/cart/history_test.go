package cart_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// Here a Store and the model go through the same random history.

// perform asks the Store.
func perform(ctx context.Context, s *cart.Store, op operation) (cart.Result, error) {
	r := cart.Request{User: op.user, Key: op.key, IfMatch: op.match}
	switch op.kind {
	case "add":
		return s.Add(ctx, r, op.book, op.quantity)
	case "set":
		return s.Set(ctx, r, op.book, op.quantity)
	case "remove":
		return s.Remove(ctx, r, op.book)
	case "acknowledge":
		return s.Acknowledge(ctx, r, op.book)
	default:
		return s.Clear(ctx, r)
	}
}

func drawOperation(t *rapid.T, in scene, m *model) operation {
	op := operation{
		kind:     rapid.SampledFrom(in.operations).Draw(t, "kind"),
		user:     rapid.SampledFrom([]string{"u1", "u2", "u3", "u4"}).Draw(t, "user"),
		book:     rapid.SampledFrom(append([]string{"none"}, in.books...)).Draw(t, "book"),
		quantity: rapid.SampledFrom([]int64{0, 1, 2, 3, 500, 998, 999, 1000}).Draw(t, "quantity"),
		key:      rapid.SampledFrom(in.keys).Draw(t, "key"),
	}
	switch op.kind {
	case "add":
		op.quantity = max(1, op.quantity)
	case "clear":
		op.book = ""
		fallthrough
	case "remove", "acknowledge":
		op.quantity = 0
	}
	version := m.carts[op.user].version
	switch rapid.IntRange(0, 9).Draw(t, "condition") {
	case 0:
		op.match = cart.IfMatch{Set: true, Any: true}
	case 1:
		op.match = cart.IfMatch{Set: true, Tags: []cart.Tag{{Epoch: 1, Version: 1}, {Epoch: m.epoch, Version: version}}}
	case 2:
		op.match = cart.IfMatch{Set: true, Tags: []cart.Tag{{Epoch: m.epoch, Version: version + 1}, {Epoch: m.epoch - 1, Version: version}}}
	case 3:
		op.match = cart.IfMatch{Set: true}
	}
	return op
}

// sortGone puts lines of quantity 0 last: a change may show them anywhere.
func sortGone(lines []schemas.Line) []schemas.Line {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b schemas.Line) int {
		switch {
		case a.Quantity == 0 && b.Quantity > 0:
			return 1
		case a.Quantity > 0 && b.Quantity == 0:
			return -1
		}
		return 0
	})
	return lines
}

// describe is a change as text, without when it happened, with prices behind pointers readable.
func describe(c schemas.CartChanged) string {
	c.OccurredAt, c.Items = schemas.Time{}, sortGone(c.Items)
	return string(schemas.EncodeCartChanged(c))
}

func TestAnyHistoryEndsAsTheModelSays(t *testing.T) { anyHistory(t, wide, enginetest.Redis(t)) }

// No cart keeps what is older than the newest facts, however steps of walks, adds and newer facts take turns.
func TestAnyTurnsOfWalksAndMutationsEndAtTheNewestFacts(t *testing.T) {
	anyHistory(t, narrow, enginetest.Redis(t))
}

// scene is where histories are drawn from.
type scene struct {
	shards     int
	books      []string
	titles     []string
	prices     []int64
	operations []string
	keys       []string
	turns      int // mutations, facts and steps in a row, at most
}

var (
	// wide has a little of everything.
	wide = scene{
		shards: 2, books: []string{"b1", "b2", "b3", "b4"}, titles: []string{"Emma", "Ä 100% \"quoted\" title", "x", "日本 - 1"},
		prices: []int64{0, 1, 1299, 999_999_999}, operations: []string{"add", "add", "set", "set", "remove", "acknowledge", "clear"},
		keys: []string{"", "", "", "k1", "k2", "k3"}, turns: 3,
	}
	// narrow has everybody at the same two books.
	narrow = scene{
		shards: 1, books: []string{"b1", "b1", "b2"}, titles: []string{"Emma"}, prices: []int64{1000, 1200, 1400},
		operations: []string{"add", "add", "add", "set", "acknowledge", "remove"}, keys: []string{""}, turns: 12,
	}
)

// memory is a Catalogue that knows what the model's process does.
type memory struct{ m *model }

func (c *memory) Cached(id string) (schemas.Book, bool) {
	b, ok := c.m.cached[id]
	return b, ok
}

func (c *memory) Lookup(_ context.Context, id string) (schemas.Book, error) {
	if all := c.m.books[id]; len(all) > 0 {
		return all[len(all)-1], nil
	}
	return schemas.Book{}, errNoBook
}

func (c *memory) Forget() { c.m.cached = map[string]schemas.Book{} }

func anyHistory(t *testing.T, in scene, addrs ...string) {
	limits, catalogue := cart.Limits{Quantity: 999, Lines: 3}, &memory{&model{}}
	shards := in.shards
	s := open(t, func(o *cart.Options) { o.Limits, o.Shards, o.Catalogue = limits, shards, catalogue }, addrs...)
	ctx, run := t.Context(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		m := &model{limits: limits, books: map[string][]schemas.Book{}, cached: map[string]schemas.Book{}, carts: map[string]*modelCart{},
			kept: map[string]keptAnswer{}, shards: map[int]*modelShard{}}
		catalogue.m = m
		name := func(s string) string { return fmt.Sprintf("%s.%d", s, run) } // each run has users and books of its own
		for shard := range shards {
			m.shards[shard] = &modelShard{map[string]schemas.Book{}, map[string]string{}, map[string]map[string]bool{}}
		}
		raised := func(t *rapid.T) {
			m.epoch = raise(t, s, cart.Ready).Number
			for shard := range shards { // this process knows them from now on, and nothing of books
				if _, err := s.Walks(ctx, shard, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		raised(t)
		for _, u := range []string{"u1", "u2", "u3", "u4"} {
			m.carts[name(u)] = &modelCart{shard: s.ShardOf(name(u))}
		}
		drawBook := func(t *rapid.T) string {
			return name(rapid.SampledFrom(in.books).Draw(t, "book"))
		}
		drawUser := func(t *rapid.T) string {
			return name(rapid.SampledFrom([]string{"u1", "u2", "u3", "u4"}).Draw(t, "user"))
		}
		drawVersion := func(t *rapid.T) (schemas.Book, bool) {
			all := m.books[drawBook(t)]
			if len(all) == 0 {
				return schemas.Book{}, false
			}
			if rapid.Bool().Draw(t, "newest") {
				return all[len(all)-1], true
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "version")], true
		}
		change := func(t *rapid.T) {
			b := schemas.Book{
				BookID:    drawBook(t),
				Title:     rapid.SampledFrom(in.titles).Draw(t, "title"),
				Status:    rapid.SampledFrom([]schemas.Availability{schemas.Available, schemas.Available, schemas.OutOfStock, schemas.Discontinued}).Draw(t, "status"),
				UnitPrice: rapid.SampledFrom(in.prices).Draw(t, "price"),
			}
			b.Version = int64(len(m.books[b.BookID]) + 1)
			m.books[b.BookID] = append(m.books[b.BookID], b)
		}
		learn := func(t *rapid.T) {
			b, ok := drawVersion(t)
			if !ok {
				return
			}
			shard := rapid.IntRange(0, shards-1).Draw(t, "shard")
			m.learn(shard, b)
			if _, err := s.Learn(ctx, shard, []schemas.Book{b}); err != nil {
				t.Fatal(err)
			}
		}
		step := func(t *rapid.T, shard int, book string, limit int) cart.Step {
			want := m.step(shard, book, limit)
			got, err := s.Step(ctx, shard, book, "one", limit)
			if err != nil || got != want {
				t.Fatalf("a step over the holders of %s: %+v, %v; want %+v", book, got, err, want)
			}
			return got
		}
		mutate := func(t *rapid.T) {
			named := &model{epoch: m.epoch, carts: map[string]*modelCart{}}
			for _, u := range []string{"u1", "u2", "u3", "u4"} {
				named.carts[u] = m.carts[name(u)]
			}
			op := drawOperation(t, in, named)
			op.user = name(op.user)
			if op.book != "" {
				op.book = name(op.book)
			}
			want, wantErr := m.expect(op)
			got, err := perform(ctx, s, op)
			if wantErr != nil {
				var mismatch, wantMismatch *cart.VersionMismatch
				if errors.As(wantErr, &wantMismatch) && errors.As(err, &mismatch) && *mismatch == *wantMismatch || errors.Is(err, wantErr) {
					return
				}
				t.Fatalf("%+v: %v, want %v", op, err, wantErr)
			}
			if err != nil {
				t.Fatalf("%+v: %v", op, err)
			}
			if describe(got.Change) != describe(want.Change) || got.Replayed != want.Replayed {
				t.Fatalf("%+v:\n got %s %v\nwant %s %v", op, describe(got.Change), got.Replayed, describe(want.Change), want.Replayed)
			}
		}
		for range 6 {
			change(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"turns are taken": func(t *rapid.T) {
				for range rapid.IntRange(1, in.turns).Draw(t, "turns") {
					switch rapid.IntRange(0, 4).Draw(t, "turn") {
					case 0, 1:
						mutate(t)
					case 2:
						learn(t)
					default:
						step(t, rapid.IntRange(0, shards-1).Draw(t, "shard"), drawBook(t), rapid.IntRange(1, 2).Draw(t, "limit"))
					}
				}
			},
			"a user mutates": mutate,
			"a book changes": func(t *rapid.T) {
				change(t)
				learn(t)
			},
			"the process hears of a book": func(t *rapid.T) {
				if b, ok := drawVersion(t); ok {
					m.cached[b.BookID] = b
				}
			},
			"an index names a user who doesn't hold the book": func(t *rapid.T) {
				user, book := drawUser(t), drawBook(t)
				m.misplace(user, book)
				if err := cart.Misplace(ctx, s, user, book); err != nil {
					t.Fatal(err)
				}
			},
			"an hour passes for a book": func(t *rapid.T) {
				user, book := drawUser(t), drawBook(t)
				shard := m.carts[user].shard
				_, known := m.shards[shard].facts[book]
				gone, err := cart.PassAnHour(ctx, s, user, book)
				switch {
				case err != nil:
					t.Fatal(err)
				case gone && len(m.holders(shard, book)) > 0:
					t.Fatalf("the facts of %s are gone, and carts hold it", book)
				case !gone && known && len(m.indexed(shard, book)) == 0:
					t.Fatalf("the facts of %s stay for ever, and nobody holds it", book)
				case gone:
					delete(m.shards[shard].facts, book)
				}
			},
			"a new generation": raised,
			"": func(t *rapid.T) {
				for user, c := range m.carts {
					check(ctx, t, s, user, m.epoch, c)
				}
			},
		})
		for shard, known := range m.shards { // what is queued is all that it takes
			w, err := s.Walks(ctx, shard, 1000)
			if err != nil {
				t.Fatal(err)
			}
			w.Books = slices.DeleteFunc(w.Books, func(b string) bool { return !strings.HasSuffix(b, name("")) }) // of runs that were cut short
			want := slices.Sorted(maps.Keys(known.walks))
			if slices.Sort(w.Books); !slices.Equal(w.Books, want) {
				t.Fatalf("walks over %v wait in shard %d, want %v", w.Books, shard, want)
			}
			for _, book := range want {
				for step(t, shard, book, 2).State == cart.WalkOn {
				}
			}
		}
		for user, c := range m.carts {
			for _, l := range c.lines {
				if newest, ok := m.shards[c.shard].facts[l.book.BookID]; ok && differ(newest, l.book) {
					t.Fatalf("%s holds %+v after all walks, the shard knows %+v", user, l.book, newest)
				}
			}
			check(ctx, t, s, user, m.epoch, c)
			checkOutbox(ctx, t, s, user, c)
			for book := range m.books {
				holders, err := cart.Holders(ctx, s, user, book)
				if err != nil {
					t.Fatal(err)
				}
				if want := m.indexed(c.shard, book); !slices.Equal(holders, want) {
					t.Fatalf("the index says that %s is held by %v, the model by %v", book, holders, want)
				}
			}
		}
	})
}

// check compares what is read with the model.
func check(ctx context.Context, t *rapid.T, s *cart.Store, user string, generation int64, c *modelCart) {
	v, err := s.Get(ctx, user)
	if err != nil {
		t.Fatal(err)
	}
	if v.Exists() != (c.version > 0) || v.Version != c.version || v.Epoch != c.epoch || v.Generation != generation || v.Shown().Epoch != generation {
		t.Fatalf("%s is at epoch %d (shown %d), version %d, want %d, %d", user, v.Epoch, v.Shown().Epoch, v.Version, c.epoch, c.version)
	}
	want := schemas.Cart{UserID: user, Epoch: c.epoch, Version: c.version, Currency: "EUR", Items: c.all(), Totals: schemas.Sum(c.all()), UpdatedAt: v.UpdatedAt}
	if got, want := string(schemas.EncodeCart(v.Cart)), string(schemas.EncodeCart(want)); got != want {
		t.Fatalf("cart\n got %s\nwant %s", got, want)
	}
}

// checkOutbox compares what waits for Kafka with the model, and applies it as a consumer would.
func checkOutbox(ctx context.Context, t *rapid.T, s *cart.Store, user string, c *modelCart) {
	entries, err := cart.Backlog(ctx, s, user)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e schemas.OutboxEntry) bool { return e.Key != user })
	if len(entries) != len(c.events) {
		t.Fatalf("%d events of %s, want %d", len(entries), user, len(c.events))
	}
	var copied schemas.Cart
	for i, e := range entries {
		got, err := schemas.DecodeCartChanged(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		if describe(got) != describe(c.events[i]) {
			t.Fatalf("event %d\n got %s\nwant %s", i, describe(got), describe(c.events[i]))
		}
		if copied.Apply(got) != schemas.Applied {
			t.Fatalf("event %d can't be applied to what came before", i)
		}
	}
	if c.version > 0 {
		v, err := s.Get(ctx, user)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(schemas.EncodeCart(copied)), string(schemas.EncodeCart(v.Cart)); got != want {
			t.Fatalf("applying every event gives\n%s, Redis holds\n%s", got, want)
		}
	}
}
