package deadletter_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/api/cart"
	"cartstream/consumers/admin"
	"cartstream/consumers/deadletter"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

// bundle is a parking lot in a process of its own, with the consumers whose letters it holds.
type bundle struct {
	t      *testing.T
	kafka  *kfake.Cluster
	client *kgo.Client // that writes
	db     *mongo.Database
	redis  *redis
	index  *deadletter.Index
	lot    *deadletter.Lot
	runner *runner.Runner
	ops    http.Handler
	log    *transcript
	stop   func()
}

// groups are those that letters can be of, in these tests.
var groups = []string{"persist", "push", "state", "booksync", "reminder", "deadletter"}

func setup(t *testing.T, consumers ...runner.Runnable) *bundle {
	t.Helper()
	return with(t, engines(t), consumers...)
}

// engines are a broker with one partition a topic, an empty database, and a Redis.
func engines(t *testing.T) *bundle {
	t.Helper()
	uri := enginetest.Mongo(t)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second),
		kfake.SeedTopics(1, schemas.CartEvents, schemas.CartState, schemas.BookEvents, schemas.CartReminders, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(kafka.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...))
	must(t, err)
	t.Cleanup(client.Close)
	return &bundle{t: t, kafka: kafka, client: client, db: connect(t, uri), redis: &redis{carts: map[string]schemas.Cart{}}}
}

func connect(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	u, err := connstring.Parse(uri)
	must(t, err)
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(500 * time.Millisecond))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(u.Database)
}

// with starts a process on the engines.
func with(t *testing.T, e *bundle, consumers ...runner.Runnable) *bundle {
	t.Helper()
	b := *e
	b.log = &transcript{}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	b.index = deadletter.NewIndex(b.db)
	kafka := []kgo.Opt{kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.MetadataMinAge(50 * time.Millisecond)}
	b.lot = deadletter.New(deadletter.Config{
		Index: b.index, Database: b.db, Carts: b.redis, Kafka: kafka, Groups: groups, Every: 20 * time.Millisecond,
		Registerer: prometheus.NewRegistry(), Log: log,
	})
	var err error
	b.runner, err = runner.New(runner.Config{Kafka: kafka, DeadLetters: schemas.CartDLQ, Logger: log},
		append(consumers, b.lot.Consumer())...)
	must(t, err)
	b.lot.ReplayWith(b.runner)
	b.ops = admin.New(tokens{}, log, b.lot.Routes()...)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.runner.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := b.lot.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	b.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(b.stop)
	return &b
}

// tokens are believed as they are: "boss" is an admin.
type tokens struct{}

func (tokens) Verify(_ context.Context, raw string) (token.Claims, error) {
	return token.Claims{User: raw, Admin: raw == "boss"}, nil
}

// redis is what Redis holds.
type redis struct {
	mu    sync.Mutex
	carts map[string]schemas.Cart
	err   error
}

func (r *redis) Get(_ context.Context, user string) (cart.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.carts[user]
	c.UserID = user
	return cart.View{Cart: c, Generation: c.Epoch}, r.err
}

func (r *redis) Contact(ctx context.Context, user string) (cart.Contact, error) {
	v, err := r.Get(ctx, user)
	return cart.Contact{Epoch: v.Epoch, Version: v.Version, Cart: v.Cart}, err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (r *redis) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// set makes the cart what the changes make of it.
func (r *redis) set(changes ...schemas.CartChanged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var c schemas.Cart
	for _, change := range changes {
		c.Apply(change)
	}
	r.carts[c.UserID] = c
}

// change is the one that brings the user's cart to the version.
func change(user string, version int64) schemas.CartChanged {
	line := schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: version, LineTotal: 1299 * version, Availability: schemas.Available}
	return schemas.CartChanged{
		UserID: user, Epoch: 100, Version: version, Type: schemas.ItemSet, Whole: version == 1, Items: []schemas.Line{line},
		Totals: schemas.Sum([]schemas.Line{line}), Currency: "EUR", OccurredAt: schemas.Milliseconds(1_700_000_000_000 + version),
	}
}

func event(c schemas.CartChanged) *kgo.Record {
	return &kgo.Record{
		Topic: schemas.CartEvents, Key: []byte(c.UserID), Value: schemas.EncodeCartChanged(c),
		Headers: []kgo.RecordHeader{{Key: schemas.HeaderID, Value: []byte(schemas.CartVersionID(c.UserID, c.Epoch, c.Version))}},
	}
}

func (b *bundle) produce(records ...*kgo.Record) {
	b.t.Helper()
	must(b.t, b.client.ProduceSync(b.t.Context(), records...).FirstErr())
}

// call makes a call as an admin and reads the answer into the target.
func (b *bundle) call(method, path, body string, into any) (status int) {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer boss")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	b.ops.ServeHTTP(w, r)
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			b.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	return w.Code
}

// whole waits until the index was built from the topic.
func (b *bundle) whole() {
	b.t.Helper()
	await(b.t, "the index is whole", func() bool {
		n, err := b.db.Collection(deadletter.Collection).CountDocuments(b.t.Context(), bson.D{{Key: "_id", Value: "the index is whole"}})
		return err == nil && n == 1
	})
}

// list is what the query finds.
func (b *bundle) list(query string) []deadletter.DeadLetter {
	b.t.Helper()
	var page deadletter.Page
	if status := b.call("GET", "/admin/dead-letters?"+query, "", &page); status != 200 {
		b.t.Fatalf("list %s: %d", query, status)
	}
	return page.Items
}

// one waits until the query finds exactly one letter.
func (b *bundle) one(query string) (l deadletter.DeadLetter) {
	b.t.Helper()
	await(b.t, "one letter is found by "+query, func() bool {
		found := b.list(query)
		if len(found) == 1 {
			l = found[0]
		}
		return len(found) == 1
	})
	return l
}

func (b *bundle) show(id string) (l deadletter.Whole) {
	b.t.Helper()
	if status := b.call("GET", "/admin/dead-letters/"+id, "", &l); status != 200 {
		b.t.Fatalf("show %s: %d", id, status)
	}
	return l
}

func (b *bundle) history(id string) (did []string) {
	b.t.Helper()
	var h deadletter.History
	if status := b.call("GET", "/admin/dead-letters/"+id+"/history", "", &h); status != 200 {
		b.t.Fatalf("history of %s: %d", id, status)
	}
	for _, e := range h.Items {
		did = append(did, strings.TrimSuffix(e.By+" "+e.Action+" "+e.Outcome+" "+e.Reason, " "))
	}
	return did
}

func (b *bundle) replay(id string) (l deadletter.DeadLetter) {
	b.t.Helper()
	if status := b.call("POST", "/admin/dead-letters/"+id+"/replay", "", &l); status != 202 {
		b.t.Fatalf("replay %s: %d", id, status)
	}
	return l
}

func await(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never became true that %s", claim)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
