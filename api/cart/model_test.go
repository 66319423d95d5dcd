package cart_test

import (
	"fmt"
	"slices"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// The model is the contract in plain Go: what a cart should answer, hold and emit, with no Redis, no Lua and no care for
// speed.

type model struct {
	limits cart.Limits
	books  map[string][]schemas.Book // each version of a book that the catalogue ever had
	cached map[string]schemas.Book   // what the process happens to know of a book, not always the newest
	shards map[int]*modelShard
	epoch  int64 // the generation
	carts  map[string]*modelCart
	kept   map[string]keptAnswer
}

type modelCart struct {
	shard          int
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

func differ(a, b schemas.Book) bool {
	return a.Title != b.Title || a.UnitPrice != b.UnitPrice || a.Status != b.Status
}

// newest returns the newest facts known to the user's shard, or to the process, which the shard learns then.
func (m *model) newest(user, book string) (schemas.Book, bool) {
	shard := m.carts[user].shard
	known, ok := m.shards[shard].facts[book]
	if c, there := m.cached[book]; there && (!ok || c.Version > known.Version) {
		return c, true
	}
	return known, ok
}

// bring gives a line newer facts, and reports whether anybody can see a difference.
func (l *modelLine) bring(b schemas.Book) bool {
	if b.Version <= l.book.Version || !differ(b, l.book) {
		return false
	}
	if seen := l.book.UnitPrice; seen != b.UnitPrice {
		switch {
		case l.previous == nil:
			l.previous = &seen
		case *l.previous == b.UnitPrice:
			l.previous = nil
		}
	}
	l.book = b
	return true
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
	known, ok := m.newest(user, book)
	switch {
	case !ok && i >= 0 && quantity <= held:
		known = c.lines[i].book
	case !ok && len(m.books[book]) > 0:
		known = m.books[book][len(m.books[book])-1]
	case !ok:
		return schemas.CartChanged{}, errNoBook
	}
	switch {
	case quantity > held && known.Status != schemas.Available:
		return schemas.CartChanged{}, cart.ErrBookUnavailable
	case quantity > m.limits.Quantity:
		return schemas.CartChanged{}, cart.ErrQuantityLimit
	case i < 0 && int64(len(c.lines)) >= m.limits.Lines:
		return schemas.CartChanged{}, cart.ErrLineLimit
	}
	line := modelLine{book: known, quantity: quantity}
	if ok || quantity > held { // else nobody knows more than the line
		m.learn(c.shard, known)
	}
	if i < 0 {
		c.lines = append(c.lines, line)
		delete(m.shards[c.shard].stray[book], user)
	} else {
		if seen := c.lines[i].book.UnitPrice; seen != known.UnitPrice {
			line.previous = &seen
		}
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
	l.bring(m.shards[m.carts[user].shard].facts[l.book.BookID])
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
