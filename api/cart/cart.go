// Package cart is the cart itself: its rules, its place in Redis and the outbox of its changes. Whoever changes a cart
// goes through a Store.
//
// A mutation is one Lua script in one hash slot. It checks everything first, then changes the lines, the totals, the
// version and the indexes, and appends the change to the shard's outbox: all of it, or nothing.
package cart

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartstream/schemas"
)

// What a mutation can be refused for. A refused mutation left no trace.
var (
	// ErrLineNotFound: the cart holds no such book.
	ErrLineNotFound = errors.New("line not found")
	// ErrBookUnavailable: the book is out of stock or discontinued, so its line can't be added or raised.
	ErrBookUnavailable = errors.New("book unavailable")
	// ErrQuantityLimit: the line would hold more than Limits.Quantity.
	ErrQuantityLimit = errors.New("quantity limit")
	// ErrLineLimit: the cart would hold more than Limits.Lines.
	ErrLineLimit = errors.New("line limit")
	// ErrKeyReused: the Idempotency-Key belongs to another request of this user.
	ErrKeyReused = errors.New("idempotency key reused")
)

// VersionMismatch says that If-Match named another state than the cart's, which it holds.
type VersionMismatch struct{ Epoch, Version int64 }

func (e *VersionMismatch) Error() string {
	return fmt.Sprintf("cart is at epoch %d, version %d", e.Epoch, e.Version)
}

// Applied says what became of a mutation that was not answered.
type Applied string

const (
	// NotApplied says that the mutation left no trace and never will.
	NotApplied Applied = "no"
	// MaybeApplied says that the answer was lost. Only a repeat under the same Idempotency-Key is safe.
	MaybeApplied Applied = "unknown"
)

// Unavailable says that a cart can't be served right now. schemas.ErrUnavailable is in its chain.
type Unavailable struct {
	// Applied is what became of a mutation, "" for a read.
	Applied Applied
	// RetryAfter is when to try again.
	RetryAfter time.Duration
	// Recovering says that Redis answers, but this shard is being brought up to what was acknowledged.
	Recovering bool
	// Err is the cause, for the log.
	Err error
}

func (e *Unavailable) Error() string { return "cart unavailable: " + e.Err.Error() }

// Unwrap returns the cause and schemas.ErrUnavailable.
func (e *Unavailable) Unwrap() []error { return []error{e.Err, schemas.ErrUnavailable} }

// Limits of a cart. Beyond them a mutation is refused.
type Limits struct {
	Quantity int64 // of one line
	Lines    int64 // of one cart
}

// Tag names one state of a cart, as an entity tag "<epoch>.<version>" does.
type Tag struct{ Epoch, Version int64 }

// IfMatch is a condition on the cart's state before a mutation. The zero value asks for nothing.
type IfMatch struct {
	// Set says that there is a condition. Without Any, a cart whose state is none of Tags is a VersionMismatch.
	Set bool
	// Any matches every cart, an empty one too.
	Any bool
	// Tags are the states that match. Version 0 matches a cart not yet there, under any epoch.
	Tags []Tag
}

// Request is what every mutation has in common.
type Request struct {
	User string
	// Key is the Idempotency-Key, "" for none. A repeat within the time to live gets the first answer.
	Key     string
	IfMatch IfMatch
	// TraceParent is the W3C trace context that the event carries on.
	TraceParent string
	// Email is where the user's reminders go, "" where it isn't known. It stays beside the cart, and never enters an event.
	Email string
}

// Result of a mutation.
type Result struct {
	// Change is what changed; where nothing did, how things stand.
	Change schemas.CartChanged
	// Replayed says that this is the kept answer of an earlier request with the same key.
	Replayed bool
}

// View is a cart as it is in Redis, with the (epoch, version) of its own last change.
type View struct {
	schemas.Cart
	// Generation of the shard; never below the cart's epoch.
	Generation int64
}

// Exists reports whether the user ever had a cart.
func (v View) Exists() bool { return v.Version > 0 }

// Shown returns the cart as clients see it: under the shard's generation, which is what their next change will have.
func (v View) Shown() schemas.Cart {
	c := v.Cart
	c.Epoch = max(c.Epoch, v.Generation)
	return c
}

// Catalogue is where the Store learns about books that a shard doesn't know.
type Catalogue interface {
	// Cached returns a book that was seen a moment ago. It never waits.
	Cached(bookID string) (schemas.Book, bool)
	// Lookup returns the book, or an error that says that there is none, or one with schemas.ErrUnavailable.
	Lookup(ctx context.Context, bookID string) (schemas.Book, error)
	// Forget drops everything cached: a new generation began, and older facts must not win.
	Forget()
}
