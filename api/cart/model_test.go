package cart_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// The model is the contract in plain Go: what a cart should answer, hold and emit, with no Redis, no Lua and no care for
// speed. The property test lets a Store and the model go through the same random history.

type model struct {
	limits cart.Limits
	books  map[string]schemas.Book
	epoch  int64 // the generation
	carts  map[string]*modelCart
	kept   map[string]keptAnswer
}

type modelCart struct {
	epoch, version int64
	lines          []modelLine
	events         []schemas.CartChanged
}

type modelLine struct {
	book     schemas.Book // as the line knows it
	quantity int64
	previous *int64
}

type keptAnswer struct {
	request string
	change  schemas.CartChanged
}

func (l modelLine) line() schemas.Line {
	return schemas.Line{BookID: l.book.BookID, Title: l.book.Title, UnitPrice: l.book.UnitPrice, PreviousUnitPrice: l.previous,
		Quantity: l.quantity, LineTotal: l.quantity * l.book.UnitPrice, Availability: l.book.Status}
}

func (c *modelCart) all() []schemas.Line {
	lines := make([]schemas.Line, 0, len(c.lines))
	for _, l := range c.lines {
		lines = append(lines, l.line())
	}
	return lines
}

func (c *modelCart) find(book string) int {
	return slices.IndexFunc(c.lines, func(l modelLine) bool { return l.book.BookID == book })
}

// answer describes how things stand; where changed, as the next version.
func (m *model) answer(user string, kind schemas.EventType, changed bool, items ...schemas.Line) schemas.CartChanged {
	c := m.carts[user]
	ch := schemas.CartChanged{UserID: user, Type: kind, Currency: "EUR", Totals: schemas.Sum(c.all()), Items: items,
		Epoch: m.epoch, Version: c.version, Whole: kind == schemas.Cleared}
	if ch.Items == nil {
		ch.Items = []schemas.Line{}
	}
	if !changed {
		return ch
	}
	if c.version == 0 {
		ch.Whole = true
	} else if c.epoch != m.epoch && !ch.Whole {
		ch.Whole = true
		gone := slices.DeleteFunc(slices.Clone(items), func(l schemas.Line) bool { return l.Quantity != 0 })
		ch.Items = append(c.all(), gone...)
	}
	c.version++
	c.epoch, ch.Version = m.epoch, c.version
	c.events = append(c.events, ch)
	return ch
}

func (m *model) remove(user string, i int) schemas.CartChanged {
	c := m.carts[user]
	gone := c.lines[i].line()
	gone.Quantity, gone.LineTotal, gone.PreviousUnitPrice = 0, 0, nil
	c.lines = slices.Delete(c.lines, i, i+1)
	return m.answer(user, schemas.ItemRemoved, true, gone)
}

func (m *model) put(user, book string, kind schemas.EventType, quantity, held int64, i int) (schemas.CartChanged, error) {
	c := m.carts[user]
	known, ok := m.books[book]
	switch {
	case !ok:
		return schemas.CartChanged{}, errNoBook
	case quantity > held && known.Status != schemas.Available:
		return schemas.CartChanged{}, cart.ErrBookUnavailable
	case quantity > m.limits.Quantity:
		return schemas.CartChanged{}, cart.ErrQuantityLimit
	case i < 0 && int64(len(c.lines)) >= m.limits.Lines:
		return schemas.CartChanged{}, cart.ErrLineLimit
	}
	line := modelLine{book: known, quantity: quantity}
	if i < 0 {
		c.lines = append(c.lines, line)
	} else {
		c.lines[i] = line
	}
	return m.answer(user, kind, true, line.line()), nil
}

func (m *model) do(op operation) (schemas.CartChanged, error) {
	c := m.carts[op.user]
	i := c.find(op.book)
	var held int64
	if i >= 0 {
		held = c.lines[i].quantity
	}
	switch op.kind {
	case "add":
		return m.put(op.user, op.book, schemas.ItemAdded, held+op.quantity, held, i)
	case "set":
		switch {
		case op.quantity == 0 && i < 0:
			return m.answer(op.user, schemas.ItemRemoved, false), nil
		case op.quantity == 0:
			return m.remove(op.user, i), nil
		case op.quantity == held:
			return m.answer(op.user, schemas.ItemSet, false, c.lines[i].line()), nil
		}
		return m.put(op.user, op.book, schemas.ItemSet, op.quantity, held, i)
	case "clear":
		if len(c.lines) == 0 {
			return m.answer(op.user, schemas.Cleared, false), nil
		}
		c.lines = nil
		return m.answer(op.user, schemas.Cleared, true), nil
	}
	if i < 0 {
		return schemas.CartChanged{}, cart.ErrLineNotFound
	}
	if op.kind == "remove" {
		return m.remove(op.user, i), nil
	}
	return m.acknowledge(op.user, &c.lines[i]), nil
}

func (m *model) acknowledge(user string, l *modelLine) schemas.CartChanged {
	if l.previous == nil {
		return m.answer(user, schemas.ItemAcknowledged, false, l.line())
	}
	l.previous = nil
	if known := m.books[l.book.BookID]; known.Version > l.book.Version {
		if seen := l.book.UnitPrice; seen != known.UnitPrice {
			l.previous = &seen
		}
		l.book = known
	}
	return m.answer(user, schemas.ItemAcknowledged, true, l.line())
}

type operation struct {
	kind, user, book string
	quantity         int64
	key              string
	match            cart.IfMatch
}

func (o operation) request() string {
	if o.kind == "clear" {
		return "clear"
	}
	return fmt.Sprint(o.kind, o.book, o.quantity)
}

// expect is the model's whole answer: kept answers and conditions first.
func (m *model) expect(op operation) (cart.Result, error) {
	c := m.carts[op.user]
	name := op.user + " " + op.key
	if kept, ok := m.kept[name]; ok && op.key != "" {
		if kept.request != op.request() {
			return cart.Result{}, cart.ErrKeyReused
		}
		return cart.Result{Change: kept.change, Replayed: true}, nil
	}
	if op.match.Set && !op.match.Any && !slices.ContainsFunc(op.match.Tags, func(t cart.Tag) bool {
		return t.Version == c.version && (t.Version == 0 || t.Epoch == m.epoch)
	}) {
		return cart.Result{}, &cart.VersionMismatch{Epoch: m.epoch, Version: c.version}
	}
	change, err := m.do(op)
	if err == nil && op.key != "" {
		m.kept[name] = keptAnswer{op.request(), change}
	}
	return cart.Result{Change: change}, err
}

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

func drawOperation(t *rapid.T, m *model) operation {
	op := operation{
		kind:     rapid.SampledFrom([]string{"add", "add", "set", "set", "remove", "acknowledge", "clear"}).Draw(t, "kind"),
		user:     rapid.SampledFrom([]string{"u1", "u2", "u3"}).Draw(t, "user"),
		book:     rapid.SampledFrom([]string{"b1", "b2", "b3", "b4", "b5", "none"}).Draw(t, "book"),
		quantity: rapid.SampledFrom([]int64{0, 1, 2, 3, 500, 998, 999, 1000}).Draw(t, "quantity"),
		key:      rapid.SampledFrom([]string{"", "", "", "k1", "k2", "k3"}).Draw(t, "key"),
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

func TestAnyHistoryEndsAsTheModelSays(t *testing.T) { anyHistory(t, enginetest.Redis(t)) }

func anyHistory(t *testing.T, addrs ...string) {
	limits := cart.Limits{Quantity: 999, Lines: 3}
	s := open(t, func(o *cart.Options) { o.Limits, o.Shards, o.Catalogue = limits, 3, shelf{} }, addrs...)
	ctx, run := t.Context(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		m := &model{limits: limits, books: map[string]schemas.Book{}, carts: map[string]*modelCart{}, kept: map[string]keptAnswer{}}
		name := func(s string) string { return fmt.Sprintf("%s.%d", s, run) } // each run has users and books of its own
		m.epoch = raise(t, s, cart.Ready).Number
		for _, u := range []string{"u1", "u2", "u3"} {
			m.carts[name(u)] = &modelCart{}
		}
		change := func(t *rapid.T) {
			b := schemas.Book{
				BookID:    name(rapid.SampledFrom([]string{"b1", "b2", "b3", "b4", "b5"}).Draw(t, "book")),
				Title:     rapid.SampledFrom([]string{"Emma", "Ä 100% \"quoted\" title", "x", "日本 - 1"}).Draw(t, "title"),
				Status:    rapid.SampledFrom([]schemas.Availability{schemas.Available, schemas.Available, schemas.OutOfStock, schemas.Discontinued}).Draw(t, "status"),
				UnitPrice: rapid.SampledFrom([]int64{0, 1, 1299, 999_999_999}).Draw(t, "price"),
			}
			b.Version = m.books[b.BookID].Version + 1
			m.books[b.BookID] = b
			if err := cart.Know(ctx, s, b); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			change(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"mutate": func(t *rapid.T) {
				named := &model{epoch: m.epoch, carts: map[string]*modelCart{}}
				for _, u := range []string{"u1", "u2", "u3"} {
					named.carts[u] = m.carts[name(u)]
				}
				op := drawOperation(t, named)
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
			},
			"a book changes":   change,
			"a new generation": func(t *rapid.T) { m.epoch = raise(t, s, cart.Ready).Number },
			"": func(t *rapid.T) {
				for user, c := range m.carts {
					check(ctx, t, s, user, m.epoch, c)
				}
			},
		})
		for user, c := range m.carts {
			checkOutbox(ctx, t, s, user, c)
			for _, book := range m.books {
				holders, err := cart.Holders(ctx, s, user, book.BookID)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(holders, user) != (c.find(book.BookID) >= 0) {
					t.Fatalf("the index says that %s is held by %v, the model that %s holds %v", book.BookID, holders, user, c.lines)
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
