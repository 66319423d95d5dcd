package reminder_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/api/cart"
	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

const (
	public = "https://api.shop.example"
	shop   = "https://shop.example/cart?from=mail&at=1"
)

// bundle is a Mailer between a relay, carts and a MongoDB of the test's own.
type bundle struct {
	mailer  *reminder.Mailer
	relay   *relay
	carts   *carts
	db      *mongo.Database
	mongodb *enginetest.Server // of setupStoppable
	links   *link.Signer
	metrics *prometheus.Registry
	log     *locked
}

// setup returns a Mailer whose settings are changed as the test wants it.
func setup(t *testing.T, r *relay, changes ...func(*env.Mail)) *bundle {
	t.Helper()
	return setupOn(t, open(t, enginetest.Mongo(t), 10*time.Second), r, changes...)
}

// setupStoppable is setup with a MongoDB that the test can stop.
func setupStoppable(t *testing.T, r *relay) *bundle {
	t.Helper()
	mongodb := enginetest.EmbeddedMongo(t)
	b := setupOn(t, open(t, mongodb.Addr, 300*time.Millisecond), r)
	b.mongodb = mongodb
	return b
}

func setupOn(t *testing.T, db *mongo.Database, r *relay, changes ...func(*env.Mail)) *bundle {
	t.Helper()
	b := &bundle{relay: r, db: db, carts: &carts{all: map[string]cart.Contact{}}, metrics: prometheus.NewRegistry(), log: &locked{}}
	var err error
	b.links, err = link.New(env.Links{Secret: "l1nk"}, env.JWT{})
	must(t, err)
	b.mailer = b.another(t, b.metrics, changes...)
	return b
}

// another is a Mailer as another process would have it.
func (b *bundle) another(t *testing.T, reg prometheus.Registerer, changes ...func(*env.Mail)) *reminder.Mailer {
	t.Helper()
	return b.anotherLinking(t, reg, public, shop, changes...)
}

// anotherLinking is another whose mails link there.
func (b *bundle) anotherLinking(t *testing.T, reg prometheus.Registerer, public, shop string, changes ...func(*env.Mail)) *reminder.Mailer {
	t.Helper()
	settings := env.Mail{Addr: b.relay.addr, From: "The Shop <shop@example.com>", TLS: env.TLSOffered, Timeout: 10 * time.Second}
	for _, change := range changes {
		change(&settings)
	}
	m, err := reminder.New(reminder.Config{
		Contacts: b.carts, Database: b.db, Mail: settings, Links: b.links, PublicURL: public, ShopURL: shop, Registerer: reg,
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	must(t, err)
	m.ParkWith(&lot{})
	return m
}

// open returns the database, once it answers. A MongoDB that doesn't any more is known to be away after that long.
func open(t *testing.T, uri string, patience time.Duration) *mongo.Database {
	t.Helper()
	u, err := connstring.Parse(uri)
	must(t, err)
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(patience))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	for end := time.Now().Add(20 * time.Second); client.Ping(t.Context(), nil) != nil; {
		if time.Now().After(end) {
			t.Fatal("MongoDB doesn't answer")
		}
	}
	return client.Database(u.Database)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// idle puts a cart that the user left alone at that version, and returns its reminder.
func (b *bundle) idle(user string, version int64, lines ...schemas.Line) schemas.Reminder {
	if lines == nil {
		lines = []schemas.Line{emma}
	}
	r := schemas.Reminder{UserID: user, Epoch: 1795341600000, Version: version, IdleSince: schemas.Milliseconds(1795341600000)}
	b.carts.put(user, cart.Contact{
		Epoch: r.Epoch, Version: version, At: r.IdleSince, Email: user + "@example.com",
		Cart: schemas.Cart{UserID: user, Epoch: r.Epoch, Version: version, Currency: "EUR", Items: lines, Totals: schemas.Sum(lines), UpdatedAt: &r.IdleSince},
	})
	return r
}

func (b *bundle) handle(t *testing.T, r schemas.Reminder) error {
	t.Helper()
	return b.mailer.Handle(t.Context(), batch(r))
}

func batch(r schemas.Reminder) []runner.Record[schemas.Reminder] {
	return []runner.Record[schemas.Reminder]{{Record: &kgo.Record{Topic: schemas.CartReminders, Key: []byte(r.UserID), Value: schemas.EncodeReminder(r)}, Value: r}}
}

// outcomes returns how many reminders ended so.
func (b *bundle) outcomes(t *testing.T, outcome string) int {
	t.Helper()
	families, err := b.metrics.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "cartstream_reminder_mails_total" && m.GetLabel()[0].GetValue() == outcome {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("no outcome %s", outcome)
	return 0
}

// hides fails the test where an address stands in an error, a log or a metric.
func (b *bundle) hides(t *testing.T, errs ...error) {
	t.Helper()
	families, err := b.metrics.Gather()
	must(t, err)
	said := b.log.String()
	for _, f := range families {
		said += f.String()
	}
	for _, err := range errs {
		if err != nil {
			said += err.Error()
		}
	}
	if strings.Contains(said, "@example.com") || strings.Contains(said, "hidden") {
		t.Errorf("an address is told: %s", said)
	}
}

// carts are where they stand now.
type carts struct {
	mu   sync.Mutex
	all  map[string]cart.Contact
	away error
	hook func()
}

func (c *carts) put(user string, to cart.Contact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[user] = to
}

func (c *carts) change(user string, f func(*cart.Contact)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := c.all[user]
	f(&to)
	c.all[user] = to
}

func (c *carts) Contact(_ context.Context, user string) (cart.Contact, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hook != nil {
		c.hook()
	}
	if c.away != nil {
		return cart.Contact{}, &cart.Unavailable{Err: c.away}
	}
	return c.all[user], nil
}

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var emma = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}
