package rest

import (
	"context"
	"errors"
	"net/http"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/live"
	"cartstream/schemas"
	"cartstream/schemas/link"
	"cartstream/schemas/token"
)

// What a call can be refused for before any store is asked.
var (
	errNoToken          = errors.New("no token")
	errForbidden        = errors.New("not for this role")
	errNotFound         = errors.New("no such route")
	errMethodNotAllowed = errors.New("no such method here")
	errTooLarge         = errors.New("body too large")
	errMediaType        = errors.New("not the media type that is needed")
	errRateLimited      = errors.New("too many requests")
)

// problem is what a client learns of one kind of refusal: RFC 9457's type, title, status and detail.
type problem struct {
	slug   string
	status int
	title  string
	detail string
}

var internal = problem{"internal", http.StatusInternalServerError, "Internal error", "Something went wrong on our side. It has been logged."}

// table says which problem an error is: the first row that matches, or internal where none does. It is the only place
// where errors get a text that clients read.
var table = []struct {
	is      func(error) bool
	problem problem
}{
	{as[*invalid], problem{"invalid-request", http.StatusBadRequest, "Invalid request", "The request is not as it has to be; errors names each fault."}},
	{as[*book.Invalid], problem{"invalid-request", http.StatusBadRequest, "Invalid request", "The request is not as it has to be; errors names each fault."}},
	{is(book.ErrBadCursor), problem{"invalid-request", http.StatusBadRequest, "Invalid request", "The request is not as it has to be; errors names each fault."}},
	{is(link.ErrInvalid), problem{"invalid-request", http.StatusBadRequest, "Invalid request", "The request is not as it has to be; errors names each fault."}},
	{is(live.ErrNotWebSocket), problem{"invalid-request", http.StatusBadRequest, "Invalid request", "Here only a WebSocket can be opened."}},

	{is(errNoToken), problem{"unauthorized", http.StatusUnauthorized, "Unauthorized", "The call needs a token: Authorization: Bearer …"}},
	{is(live.ErrUnauthorized), problem{"unauthorized", http.StatusUnauthorized, "Unauthorized", "The call needs a token: in Authorization, or as a subprotocol bearer.…"}},
	{is(token.ErrInvalid), problem{"unauthorized", http.StatusUnauthorized, "Unauthorized", "The token is not valid, or no longer."}},
	{is(errForbidden), problem{"forbidden", http.StatusForbidden, "Forbidden", "The token's role may not do this."}},
	{is(live.ErrOrigin), problem{"forbidden", http.StatusForbidden, "Forbidden", "Pages of this origin may not connect."}},

	{is(book.ErrNotFound), problem{"book-not-found", http.StatusNotFound, "Book not found", "The catalogue has no such book."}},
	{is(cart.ErrLineNotFound), problem{"line-not-found", http.StatusNotFound, "Line not found", "The cart holds no such book."}},
	{is(errNotFound), problem{"not-found", http.StatusNotFound, "Not found", "There is nothing under this path."}},
	{is(errMethodNotAllowed), problem{"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed", "The path knows other methods only; Allow names them."}},
	{is(book.ErrExists), problem{"book-exists", http.StatusConflict, "Book exists", "The catalogue has a book of this id, though it may be discontinued."}},
	{is(cart.ErrBookUnavailable), problem{"book-unavailable", http.StatusConflict, "Book unavailable", "The book is out of stock or discontinued: it can be lowered and removed, not added or raised."}},
	{as[*cart.VersionMismatch], problem{"version-mismatch", http.StatusPreconditionFailed, "Version mismatch", "The cart is not in a state that If-Match names. Nothing was changed."}},
	{as[*book.VersionMismatch], problem{"version-mismatch", http.StatusPreconditionFailed, "Version mismatch", "The book is not at a version that If-Match names. Nothing was changed."}},
	{is(errTooLarge), problem{"payload-too-large", http.StatusRequestEntityTooLarge, "Payload too large", "The body has more bytes than are taken."}},
	{is(errMediaType), problem{"unsupported-media-type", http.StatusUnsupportedMediaType, "Unsupported media type", "The body has to be JSON, and Content-Type has to say so."}},
	{is(cart.ErrQuantityLimit), problem{"quantity-limit", http.StatusUnprocessableEntity, "Quantity limit", "The line would hold more than a line may."}},
	{is(cart.ErrLineLimit), problem{"line-limit", http.StatusUnprocessableEntity, "Line limit", "The cart would have more lines than a cart may."}},
	{is(cart.ErrKeyReused), problem{"idempotency-key-reused", http.StatusUnprocessableEntity, "Idempotency-Key reused", "The Idempotency-Key was sent with another request before."}},
	{is(errRateLimited), problem{"rate-limited", http.StatusTooManyRequests, "Rate limited", "Too many requests in a short time."}},

	// A caller that left, or whose time ran out, finds nobody to blame.
	{is(schemas.ErrUnavailable), unavailable},
	{is(context.Canceled), unavailable},
	{is(context.DeadlineExceeded), unavailable},
}

var unavailable = problem{"unavailable", http.StatusServiceUnavailable, "Unavailable", "This can't be served right now."}

// find returns the problem that the error is.
func find(err error) problem {
	for _, row := range table {
		if row.is(err) {
			return row.problem
		}
	}
	return internal
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// Fault is one entry of errors in an invalid-request: what is wrong with a field of the body, a parameter or a header.
type Fault struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// invalid says everything that is wrong with a request.
type invalid struct{ faults []Fault }

func (e *invalid) Error() string {
	text := "invalid request"
	for _, f := range e.faults {
		text += "; " + f.Field + " " + f.Message
	}
	return text
}

// faults are collected while a request is read, so that all are told at once.
type faults []Fault

// mostFaults bounds the answer: a body of 64 KiB could have thousands.
const mostFaults = 50

func (f *faults) add(field, message string) {
	if len(*f) < mostFaults {
		*f = append(*f, Fault{field, message})
	}
}

// err returns nil where nothing was wrong.
func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return &invalid{*f}
}
