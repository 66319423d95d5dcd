package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"cartstream/schemas"
)

// books in the catalogue.
const books = 12

func bookID(i int) string { return fmt.Sprintf("book-%02d", i) }

// kind is what a call asks for.
type kind string

const (
	add         kind = "add"
	set         kind = "set"
	remove      kind = "remove"
	acknowledge kind = "acknowledge"
	empty       kind = "clear"
	get         kind = "get"
)

// result is what a client knows of its call.
type result string

const (
	answered result = "answered" // 200
	refused  result = "refused"  // 4xx: final, nothing changed
	undone   result = "undone"   // 503 that says so, or it never left: nothing changed
	unknown  result = "unknown"  // maybe
)

// op is one call of a user's with what came of it: the calls with one Idempotency-Key, repeated until one was decided,
// are one op. Times are since the run began.
type op struct {
	user     string
	client   int
	kind     kind
	book     int
	quantity int64
	key      string
	match    version // zero: no If-Match

	from, to time.Duration
	result   result
	status   int
	slug     string
	change   schemas.CartChanged // of an answered mutation
	cart     schemas.Cart        // of an answered get
	at       version             // that the answer names, where it names one
	fault    string              // what no answer may be
}

// version is a cart's (epoch, version).
type version struct{ epoch, number int64 }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.epoch, v.number) }

func (v version) newer(than version) bool {
	return schemas.Newer(v.epoch, v.number, than.epoch, than.number)
}

func (o op) mutates() bool { return o.kind != get }

func (o op) String() string {
	return fmt.Sprintf("%s#%d %s %s %d key %q match %v, %.3f to %.3f s → %s %d %s %v",
		o.user, o.client, o.kind, bookID(o.book), o.quantity, o.key, o.match, o.from.Seconds(), o.to.Seconds(), o.result, o.status, o.slug, o.at)
}

func (o op) call() call {
	c := call{key: o.key}
	if o.match != (version{}) {
		c.match = `"` + o.match.String() + `"`
	}
	switch o.kind {
	case add:
		c.method, c.path, c.body = http.MethodPost, "/v1/cart/items", fmt.Sprintf(`{"bookId":%q,"quantity":%d}`, bookID(o.book), o.quantity)
	case set:
		c.method, c.path, c.body = http.MethodPut, "/v1/cart/items/"+bookID(o.book), fmt.Sprintf(`{"quantity":%d}`, o.quantity)
	case remove:
		c.method, c.path = http.MethodDelete, "/v1/cart/items/"+bookID(o.book)
	case acknowledge:
		c.method, c.path = http.MethodPost, "/v1/cart/items/"+bookID(o.book)+"/acknowledge"
	case empty:
		c.method, c.path = http.MethodDelete, "/v1/cart"
	case get:
		c.method, c.path = http.MethodGet, "/v1/cart"
	}
	return c
}

// next makes up a user's next call.
func next(random *rand.Rand, book int) op {
	o := op{book: book}
	switch n := random.IntN(100); {
	case n < 42:
		o.kind, o.quantity = add, 1+random.Int64N(5)
	case n < 70:
		o.kind, o.quantity = set, random.Int64N(12)
	case n < 82:
		o.kind = remove
	case n < 88:
		o.kind = acknowledge
	case n < 91:
		o.kind = empty
	default:
		o.kind = get
	}
	return o
}

// leaves says whether a change of that type can be what the op left in Kafka.
func (o op) leaves(t schemas.EventType) bool {
	switch t {
	case schemas.ItemAdded:
		return o.kind == add
	case schemas.ItemSet:
		return o.kind == set
	case schemas.ItemRemoved:
		return o.kind == remove || o.kind == set && o.quantity == 0
	case schemas.ItemAcknowledged:
		return o.kind == acknowledge
	case schemas.Cleared:
		return o.kind == empty
	default:
		return false
	}
}
