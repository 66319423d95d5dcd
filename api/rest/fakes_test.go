package rest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/schemas"
)

// carts is a store of carts that answers as it is told and remembers what it was asked.
type carts struct {
	mu     sync.Mutex
	view   cart.View
	result cart.Result
	err    error
	asked  []asked
	hook   func()
}

type asked struct {
	what, book string
	quantity   int64
	request    cart.Request
}

func (c *carts) note(a asked) (cart.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, a)
	if c.hook != nil {
		c.hook()
	}
	return c.result, c.err
}

// last returns the newest call, and fails the test where none came.
func (c *carts) last(t *testing.T) asked {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		t.Fatal("the store was not asked")
	}
	return c.asked[len(c.asked)-1]
}

// none fails the test where any call came.
func (c *carts) none(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) > 0 {
		t.Errorf("the store was asked: %+v", c.asked)
	}
}

func (c *carts) Get(_ context.Context, user string) (cart.View, error) {
	_, err := c.note(asked{what: "get", request: cart.Request{User: user}})
	return c.view, err
}

func (c *carts) Add(_ context.Context, r cart.Request, book string, quantity int64) (cart.Result, error) {
	return c.note(asked{"add", book, quantity, r})
}

func (c *carts) Set(_ context.Context, r cart.Request, book string, quantity int64) (cart.Result, error) {
	return c.note(asked{"set", book, quantity, r})
}

func (c *carts) Remove(_ context.Context, r cart.Request, book string) (cart.Result, error) {
	return c.note(asked{"remove", book, 0, r})
}

func (c *carts) Clear(_ context.Context, r cart.Request) (cart.Result, error) {
	return c.note(asked{"clear", "", 0, r})
}

func (c *carts) Acknowledge(_ context.Context, r cart.Request, book string) (cart.Result, error) {
	return c.note(asked{"acknowledge", book, 0, r})
}

// books is a catalogue that answers as it is told and remembers what it was asked.
type books struct {
	mu      sync.Mutex
	book    schemas.Book
	page    book.Page
	err     error
	asked   string
	id      string
	query   book.Query
	draft   book.Draft
	patch   book.Patch
	request book.Request
}

func (b *books) note(what, id string, set func()) (schemas.Book, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked, b.id = what, id
	if set != nil {
		set()
	}
	return b.book, b.err
}

func (b *books) Get(_ context.Context, id string) (schemas.Book, error) {
	return b.note("get", id, nil)
}

func (b *books) List(_ context.Context, q book.Query) (book.Page, error) {
	_, err := b.note("list", "", func() { b.query = q })
	return b.page, err
}

func (b *books) Create(_ context.Context, r book.Request, id string, d book.Draft) (schemas.Book, error) {
	return b.note("create", id, func() { b.request, b.draft = r, d })
}

func (b *books) Put(_ context.Context, r book.Request, id string, d book.Draft) (schemas.Book, error) {
	return b.note("put", id, func() { b.request, b.draft = r, d })
}

func (b *books) Patch(_ context.Context, r book.Request, id string, p book.Patch) (schemas.Book, error) {
	return b.note("patch", id, func() { b.request, b.patch = r, p })
}

func (b *books) Delete(_ context.Context, r book.Request, id string) error {
	_, err := b.note("delete", id, func() { b.request = r })
	return err
}

// optOuts remembers who wants no reminders, or fails as it is told.
type optOuts struct {
	mu    sync.Mutex
	users []string
	err   error
}

func (o *optOuts) Add(_ context.Context, user string, _ time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.users = append(o.users, user)
	}
	return o.err
}

// What the stores answer unless a test says otherwise.
var (
	emma   = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}
	change = schemas.CartChanged{
		UserID: "u1", Epoch: 1795341600000, Version: 7, Type: schemas.ItemAdded, Items: []schemas.Line{emma},
		Totals: schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 1}, Currency: "EUR",
		OccurredAt: schemas.Milliseconds(1795341600000),
	}
	view = cart.View{Generation: 1795341600000, Cart: schemas.Cart{
		UserID: "u1", Epoch: 1795341600000, Version: 7, Currency: "EUR", Items: []schemas.Line{emma}, Totals: change.Totals, UpdatedAt: &change.OccurredAt,
	}}
	novel = schemas.Book{BookID: "b1", Title: "Emma", Author: "Jane Austen", UnitPrice: 1299, Currency: "EUR", Stock: 3, Status: schemas.Available, Version: 4}
)
