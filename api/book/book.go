// Package book is the catalogue: the books in MongoDB, their search, and the events that tell everyone else about their
// changes.
//
// Each change is one conditional write that raises the book's version by exactly 1 and marks the book unpublished with
// that version. The request that made it hands the event to Kafka at once; whatever stays marked, for whatever reason,
// is published by Store.Run. So the newest version of a book always reaches book.events.v1, and a version never has two
// contents.
package book

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cartstream/schemas"
)

// What a call can be refused for. A refused call changed nothing.
var (
	// ErrNotFound: the catalogue never had this book.
	ErrNotFound = errors.New("book not found")
	// ErrExists: there is such a book already, though it may be discontinued.
	ErrExists = errors.New("book exists")
	// ErrBadCursor: the cursor didn't come from List.
	ErrBadCursor = errors.New("bad cursor")
)

// VersionMismatch says that If-Match named another version than the book's, which it holds.
type VersionMismatch struct{ Version int64 }

func (e *VersionMismatch) Error() string { return fmt.Sprintf("book is at version %d", e.Version) }

// Applied says what became of a change that was not answered.
type Applied string

const (
	// NotApplied says that the change left no trace and never will.
	NotApplied Applied = "no"
	// MaybeApplied says that the answer was lost. If the change was made, its event will be published all the same.
	MaybeApplied Applied = "unknown"
)

// Unavailable says that MongoDB can't be asked right now. schemas.ErrUnavailable is in its chain.
type Unavailable struct {
	// Applied is what became of a change, "" for a read.
	Applied Applied
	// RetryAfter is when to try again.
	RetryAfter time.Duration
	// Err is the cause, for the log.
	Err error
}

func (e *Unavailable) Error() string { return "catalogue unavailable: " + e.Err.Error() }

// Unwrap returns the cause and schemas.ErrUnavailable.
func (e *Unavailable) Unwrap() []error { return []error{e.Err, schemas.ErrUnavailable} }

// IfMatch is a condition on a book's version before it changes. The zero value asks for nothing.
type IfMatch struct {
	// Set says that there is a condition. Without Any, a book whose version is none of Versions is a VersionMismatch.
	Set bool
	// Any matches every book.
	Any bool
	// Versions are those that match.
	Versions []int64
}

func (m IfMatch) check(version int64) error {
	if !m.Set || m.Any || slices.Contains(m.Versions, version) {
		return nil
	}
	return &VersionMismatch{Version: version}
}

// Request is what every change has in common.
type Request struct {
	IfMatch IfMatch
	// TraceParent is the W3C trace context that the event carries on; "" starts a new trace.
	TraceParent string
}

// Draft is what a book consists of when it is created or replaced. Its status follows from the stock, its currency is
// the deployment's.
type Draft struct {
	Title, Author string
	ISBN          string // "" for none
	UnitPrice     int64  // minor units
	Stock         int64
}

func (d Draft) on(b schemas.Book) schemas.Book {
	b.Title, b.Author, b.ISBN, b.UnitPrice, b.Stock = d.Title, d.Author, d.ISBN, d.UnitPrice, d.Stock
	b.Status = statusOf(d.Stock)
	return b
}

// Patch is what changes of a book; nil leaves a field as it is.
type Patch struct {
	Title, Author    *string
	ISBN             *string // "" removes it
	UnitPrice, Stock *int64
}

// on never revives a discontinued book: only a whole new Draft does.
func (p Patch) on(b schemas.Book) schemas.Book {
	set(&b.Title, p.Title)
	set(&b.Author, p.Author)
	set(&b.ISBN, p.ISBN)
	set(&b.UnitPrice, p.UnitPrice)
	set(&b.Stock, p.Stock)
	if b.Status != schemas.Discontinued {
		b.Status = statusOf(b.Stock)
	}
	return b
}

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

func statusOf(stock int64) schemas.Availability {
	if stock == 0 {
		return schemas.OutOfStock
	}
	return schemas.Available
}
