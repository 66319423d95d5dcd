package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/cart"
	"cartstream/consumers/persist"
	"cartstream/consumers/reconcile"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

const shards = 4

// bundle is a Reconciler between carts and a database of the test's own.
type bundle struct {
	*reconcile.Reconciler
	t        *testing.T
	carts    *late
	stored   *persist.Store
	db       *mongo.Database
	uri      env.MongoDB
	redis    *redis.Client
	registry *prometheus.Registry
	log      *locked
	sync     func(ctx context.Context, user string) error
}

func setup(t *testing.T) *bundle {
	t.Helper()
	addr := enginetest.Redis(t)
	uri := env.MongoDB{URI: env.Secret(enginetest.Mongo(t))}
	db, err := uri.Open()
	must(t, err)
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	b := &bundle{t: t, db: db, uri: uri, redis: redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1}), log: &locked{}}
	t.Cleanup(func() { _ = b.redis.Close() })
	store, err := cart.Open(cart.Options{
		Redis: &redis.UniversalOptions{Addrs: []string{addr}, MaxRetries: -1}, Shards: shards, Currency: "EUR",
		Limits: cart.Limits{Quantity: 999, Lines: 500}, Catalogue: shelf{}, KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	b.carts = &late{Store: store, away: map[int]error{}}
	b.raise(cart.Ready)
	b.stored = persist.New(db, store, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	b.sync = b.stored.Sync
	b.restart()
	return b
}

// restart gives the bundle a Reconciler as another process would have it.
func (b *bundle) restart() {
	b.registry = prometheus.NewRegistry()
	b.Reconciler = reconcile.New(reconcile.Config{
		Carts: b.carts, Facts: b.carts, Database: b.db, Redis: b.redis, Registerer: b.registry,
		Sync: func(ctx context.Context, user string) error { return b.sync(ctx, user) },
		Log:  slog.New(slog.NewTextHandler(b.log, nil)), LookAgainAfter: time.Millisecond,
	})
}

// raise gives every shard a new generation, as recovery does.
func (b *bundle) raise(state cart.State) {
	b.t.Helper()
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, n := range b.carts.Nodes(b.t.Context()) {
		shards, err := n.Inspect(b.t.Context())
		must(b.t, err)
		for _, s := range shards {
			g.Number = max(g.Number, s.Generation.Number+1)
		}
		must(b.t, n.Swap(b.t.Context(), g, state, shards...))
		must(b.t, n.Load(b.t.Context(), g))
		must(b.t, n.Close())
	}
}

// add changes the user's cart in Redis; relay is what brings it to MongoDB.
func (b *bundle) add(user string, books ...string) schemas.CartChanged {
	b.t.Helper()
	var last cart.Result
	for _, book := range books {
		var err error
		last, err = b.carts.Add(b.t.Context(), cart.Request{User: user}, book, 1)
		must(b.t, err)
	}
	return last.Change
}

// relay brings every change that waits in an outbox to MongoDB, as relay and persist do.
func (b *bundle) relay() {
	b.t.Helper()
	var cursors []schemas.OutboxCursor
	for shard := range shards {
		_, _, err := b.carts.Known(b.t.Context(), shard, "", 1) // so that this process knows its generation
		must(b.t, err)
		cursors = append(cursors, schemas.OutboxCursor{Shard: shard})
	}
	batches, err := b.carts.ReadOutbox(b.t.Context(), cursors, 0, 10000)
	must(b.t, err)
	var all []runner.Record[schemas.CartChanged]
	for _, batch := range batches {
		must(b.t, batch.Err)
		for _, e := range batch.Entries {
			c, err := schemas.DecodeCartChanged(e.Value)
			must(b.t, err)
			all = append(all, runner.Record[schemas.CartChanged]{Value: c})
		}
	}
	must(b.t, b.stored.Apply(b.t.Context(), all))
}

// settled returns users whose carts are equal on both sides, and which count as changed.
func (b *bundle) settled(n int) (users []string) {
	b.t.Helper()
	for i := range n {
		user := fmt.Sprintf("u%d", i)
		b.add(user, "b1", "b2", "b3")
		users = append(users, user)
	}
	b.relay()
	return users
}

// recent runs and checks how many carts were compared, all without an error.
func (b *bundle) recent(want int) {
	b.t.Helper()
	n, err := b.Recent(b.t.Context())
	must(b.t, err)
	if int(n) != want {
		b.t.Errorf("%d changed carts compared, want %d", n, want)
	}
}

func (b *bundle) all() {
	b.t.Helper()
	_, err := b.All(b.t.Context())
	must(b.t, err)
}

// edit changes the document by hand.
func (b *bundle) edit(user string, update bson.D) {
	b.t.Helper()
	r, err := b.db.Collection("carts").UpdateOne(b.t.Context(), bson.D{{Key: "_id", Value: user}}, update)
	must(b.t, err)
	if r.MatchedCount != 1 {
		b.t.Fatalf("%s has no document", user)
	}
}

func set(field string, value any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}
}

// forget deletes the user's cart from Redis, as nothing of ours does.
func (b *bundle) forget(user string) {
	b.t.Helper()
	keys, err := b.redis.Keys(b.t.Context(), "{*}:c:"+user).Result()
	must(b.t, err)
	must(b.t, b.redis.Del(b.t.Context(), keys...).Err())
}

func (b *bundle) document(user string) (c schemas.Cart) {
	b.t.Helper()
	err := b.db.Collection("carts").FindOne(b.t.Context(), bson.D{{Key: "_id", Value: user}}).Decode(&c)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		b.t.Fatal(err)
	}
	return c
}

func (b *bundle) cart(user string) schemas.Cart {
	b.t.Helper()
	v, err := b.carts.Get(b.t.Context(), user)
	must(b.t, err)
	return v.Cart
}

// equal fails the test unless both sides have the same cart.
func (b *bundle) equal(users ...string) {
	b.t.Helper()
	for _, u := range users {
		if in, out := b.cart(u), b.document(u); in.Version == 0 || cart.DigestOf(in) != cart.DigestOf(out) {
			b.t.Errorf("the cart of %s: %s in Redis, %s in MongoDB", u, schemas.EncodeCart(in), schemas.EncodeCart(out))
		}
	}
}

// metric is the sum of a counter, or of its one kind.
func (b *bundle) metric(name, kind string) (sum int) {
	b.t.Helper()
	families, err := b.registry.Gather()
	must(b.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (kind == "" || m.GetLabel()[0].GetValue() == kind) {
				sum += int(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}

func (b *bundle) drift() int { return b.metric("cartstream_reconcile_drift_total", "") }

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
