package persist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/api/cart"
	"cartstream/consumers/persist"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// bundle is a Store on a database of its own, and what it is asked with.
type bundle struct {
	store *persist.Store
	carts *mongo.Collection
	redis *redis
	uri   string

	metrics *prometheus.Registry
}

// waiting is how many documents wait for a bulk write.
func (b *bundle) waiting(t testing.TB) int {
	t.Helper()
	families, err := b.metrics.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "cartstream_persist_waiting_documents" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatalf("no metric of waiting documents")
	return 0
}

func setup(t testing.TB) *bundle {
	t.Helper()
	return setupOn(t, enginetest.Mongo(t), nil)
}

// setupOn watches the commands that the Store sends where monitor is set.
func setupOn(t testing.TB, uri string, monitor *event.CommandMonitor) *bundle {
	t.Helper()
	b := &bundle{redis: &redis{carts: map[string]schemas.Cart{}}, uri: uri}
	b.carts = connect(t, uri, nil).Collection(persist.Collection)
	b.metrics = prometheus.NewRegistry()
	b.store = persist.New(connect(t, uri, monitor), b.redis, b.metrics, quiet())
	return b
}

func connect(t testing.TB, uri string, monitor *event.CommandMonitor) *mongo.Database {
	t.Helper()
	u, err := connstring.Parse(uri)
	must(t, err)
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetMonitor(monitor).
		SetServerSelectionTimeout(500 * time.Millisecond))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(u.Database)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// document returns what is stored for the user, and whether anything is.
func (b *bundle) document(t require, user string) (schemas.Cart, bool) {
	var c schemas.Cart
	err := b.carts.FindOne(t.Context(), bson.D{{Key: "_id", Value: user}}).Decode(&c)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return c, false
	}
	must(t, err)
	return c, true
}

// documents returns all that is stored, by user.
func (b *bundle) documents(t require) map[string]schemas.Cart {
	t.Helper()
	cursor, err := b.carts.Find(t.Context(), bson.D{})
	must(t, err)
	var all []schemas.Cart
	must(t, cursor.All(t.Context(), &all))
	docs := make(map[string]schemas.Cart, len(all))
	for _, c := range all {
		docs[c.UserID] = c
	}
	return docs
}

// put stores the cart as another member would have.
func (b *bundle) put(t require, c schemas.Cart) {
	_, err := b.carts.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: c.UserID}}, c, options.Replace().SetUpsert(true))
	must(t, err)
}

// require is what testing.T and rapid.T have in common.
type require interface {
	Context() context.Context
	Fatalf(format string, args ...any)
	Helper()
}

func must(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// redis is where whole carts come from.
type redis struct {
	mu    sync.Mutex
	carts map[string]schemas.Cart
	away  error
	reads int
}

func (r *redis) Get(_ context.Context, user string) (cart.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if r.away != nil {
		return cart.View{}, &cart.Unavailable{Err: r.away, Recovering: true}
	}
	c := r.carts[user]
	c.UserID = user
	return cart.View{Cart: c, Generation: c.Epoch + 5}, nil
}

func (r *redis) set(c schemas.Cart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.carts[c.UserID] = c
}

func (r *redis) recovering(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = err
}

// history is everything that happened to one user's cart: its changes, and the cart after each of them.
type history struct {
	changes []schemas.CartChanged
	after   []schemas.Cart
}

func (h *history) newest() schemas.Cart { return h.after[len(h.after)-1] }

// add appends the change that sets a book's quantity. A new epoch, as a cart's first change, carries the whole cart.
func (h *history) add(user, book string, quantity int64, newEpoch bool) {
	c := schemas.Cart{UserID: user, Epoch: 100}
	if len(h.after) > 0 {
		c = h.newest()
		c.Items = append([]schemas.Line{}, c.Items...)
	}
	whole := c.Version == 0
	if newEpoch {
		c.Epoch += 10
		whole = true
	}
	line := schemas.Line{
		BookID: book, Title: "Title of " + book, UnitPrice: 1299, Quantity: quantity, LineTotal: 1299 * quantity,
		Availability: schemas.Available,
	}
	change := schemas.CartChanged{
		UserID: user, Epoch: c.Epoch, Version: c.Version + 1, Type: schemas.ItemSet, Currency: "EUR",
		Items: []schemas.Line{line}, OccurredAt: schemas.Milliseconds(1_700_000_000_000 + c.Version),
	}
	next := c
	next.Items = place(c.Items, line)
	next.Totals = schemas.Sum(next.Items)
	change.Totals = next.Totals
	if whole {
		change.Whole, change.Items = true, next.Items
	}
	at := change.OccurredAt
	next.UserID, next.Epoch, next.Version, next.Currency, next.UpdatedAt = user, change.Epoch, change.Version, "EUR", &at
	h.changes = append(h.changes, change)
	h.after = append(h.after, next)
}

// place is a cart's lines after one of them changed, told in another way than Cart.Apply tells it.
func place(lines []schemas.Line, line schemas.Line) []schemas.Line {
	out := []schemas.Line{}
	known := false
	for _, l := range lines {
		if l.BookID == line.BookID {
			known = true
			l = line
		}
		if l.Quantity > 0 {
			out = append(out, l)
		}
	}
	if !known && line.Quantity > 0 {
		out = append(out, line)
	}
	return out
}

// story is a history of n changes: books b0 to b4 in turn.
func story(user string, n int) *history {
	h := &history{}
	for i := range n {
		h.add(user, fmt.Sprintf("b%d", i%5), int64(i+1), false)
	}
	return h
}

func batch(changes ...schemas.CartChanged) []runner.Record[schemas.CartChanged] {
	var out []runner.Record[schemas.CartChanged]
	for _, c := range changes {
		out = append(out, runner.Record[schemas.CartChanged]{
			Record: &kgo.Record{Topic: schemas.CartEvents, Key: []byte(c.UserID), Value: schemas.EncodeCartChanged(c)},
			Value:  c,
		})
	}
	return out
}

// same compares carts by what a downstream team would see.
func same(t require, claim string, got, want schemas.Cart) {
	t.Helper()
	if g, w := string(schemas.EncodeCart(got)), string(schemas.EncodeCart(want)); g != w {
		t.Fatalf("%s:\ngot  %s\nwant %s", claim, g, w)
	}
}

// commands counts what the Store sends, and runs before a command of that name goes out where set.
type commands struct {
	mu     sync.Mutex
	sent   []*event.CommandStartedEvent
	before func(name string)
}

func (c *commands) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		c.mu.Lock()
		copied := *e
		copied.Command = append(bson.Raw{}, e.Command...)
		c.sent = append(c.sent, &copied)
		before := c.before
		c.mu.Unlock()
		if before != nil {
			before(e.CommandName)
		}
	}}
}

// statements returns how many statements each command of that name held, in the order in which they were sent.
func (c *commands) statements(name string) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []int
	for _, e := range c.sent {
		if e.CommandName != name {
			continue
		}
		n := 1
		if updates, ok := e.Command.Lookup("updates").ArrayOK(); ok {
			values, _ := updates.Values()
			n = len(values)
		}
		out = append(out, n)
	}
	return out
}
