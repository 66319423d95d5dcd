package book_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/book"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// bundle is a catalogue of the test's own. Nothing runs but what the test starts.
type bundle struct {
	t     *testing.T
	db    *mongo.Database
	kafka *kafka
	store *book.Store
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupOn(t, enginetest.Mongo(t))
}

func setupOn(t *testing.T, uri string) *bundle {
	t.Helper()
	b := &bundle{t: t, db: connect(t, uri), kafka: &kafka{}}
	b.store = b.instance(b.kafka)
	return b
}

func connect(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	db, err := (&env.MongoDB{URI: env.Secret(uri)}).Open()
	must(t, err)
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	return db
}

// instance is one more instance of the API.
func (b *bundle) instance(p book.Producer) *book.Store {
	return book.Open(book.Options{
		Database: b.db, Producer: p, Currency: "EUR", Logger: slog.New(slog.DiscardHandler),
		RepublishEvery: 20 * time.Millisecond,
	})
}

// run runs the store until the test ends or stop is called.
func (b *bundle) run(s *book.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

func (b *bundle) create(id string, d book.Draft) schemas.Book {
	b.t.Helper()
	created, err := b.store.Create(b.t.Context(), book.Request{}, id, d)
	must(b.t, err)
	return created
}

// stored returns the document as it lies in MongoDB.
func (b *bundle) stored(id string) bson.M {
	b.t.Helper()
	var m bson.M
	must(b.t, b.db.Collection("books").FindOne(context.Background(), bson.D{{Key: "_id", Value: id}}).Decode(&m))
	return m
}

func (b *bundle) awaitPublished(id string) {
	b.t.Helper()
	await(b.t, "the mark of "+id+" is cleared", func() bool { return b.stored(id)["unpublished"] == int64(0) })
}

// kafka is a producer whose Kafka the test plays. The zero value acknowledges everything at once.
type kafka struct {
	mu      sync.Mutex
	away    bool // refuses
	frozen  bool // answers nothing
	records []*kgo.Record
	waiting []func(error)
	refused int
}

func (k *kafka) TryProduce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.away:
		k.refused++
		promise(r, errors.New("no broker"))
	case k.frozen:
		k.waiting = append(k.waiting, func(err error) { promise(r, err) })
		k.records = append(k.records, r)
	default:
		k.records = append(k.records, r)
		promise(r, nil)
	}
}

func (k *kafka) set(away, frozen bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away, k.frozen = away, frozen
}

// answer settles what waited while Kafka was frozen.
func (k *kafka) answer(err error) {
	k.mu.Lock()
	waiting := k.waiting
	k.waiting = nil
	k.mu.Unlock()
	for _, promise := range waiting {
		promise(err)
	}
}

// refusals is how often the producer was told that Kafka is away.
func (b *bundle) refusals() int {
	b.kafka.mu.Lock()
	defer b.kafka.mu.Unlock()
	return b.kafka.refused
}

func (k *kafka) all() []*kgo.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.records)
}

func (k *kafka) count() int { return len(k.all()) }

func (k *kafka) events(t *testing.T) []schemas.BookChanged {
	t.Helper()
	records := k.all()
	all := make([]schemas.BookChanged, len(records))
	for i, r := range records {
		var err error
		all[i], err = schemas.DecodeBookChanged(r.Value)
		must(t, err)
	}
	return all
}

var emma = book.Draft{Title: "Emma", Author: "Jane Austen", ISBN: "9780141439587", UnitPrice: 1299, Stock: 7}

func emmaFor(price int64) book.Draft {
	d := emma
	d.UnitPrice = price
	return d
}

func ptr[T any](v T) *T { return &v }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// await waits until the condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
