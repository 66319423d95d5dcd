package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/api/cart"
	"cartstream/api/recovery"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// gate is a way to an engine that can be shut.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func (g *gate) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, errors.New("the gate is shut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		g.conns = append(g.conns, conn)
	}
	return conn, err
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, conn := range g.conns {
			_ = conn.Close()
		}
		g.conns = nil
	}
}

// engines are what a recovery stands on.
type engines struct {
	addr    string // of Redis
	redis   *redis.Client
	brokers string
	kafka   *kgo.Client
	admin   *kadm.Client
	topic   string // this test's alone
	group   string // and this one's persist
	carts   *mongo.Collection

	// What recovery reaches Kafka and MongoDB through.
	toKafka, toMongo *gate
	reached          *mongo.Collection
}

func setup(t *testing.T) *engines {
	t.Helper()
	return setupOn(t, enginetest.Redis(t))
}

func setupOn(t *testing.T, addr string) *engines {
	t.Helper()
	return setupWith(t, addr, enginetest.Kafka(t))
}

func setupWith(t *testing.T, addr, brokers string) *engines {
	t.Helper()
	own := time.Now().UnixNano()
	e := &engines{addr: addr, brokers: brokers, topic: fmt.Sprintf("recovery-%d", own), group: fmt.Sprintf("persist-%d", own),
		toKafka: &gate{}, toMongo: &gate{}}
	e.redis = redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = e.redis.Close() })
	var err error
	if e.kafka, err = kgo.NewClient(kgo.SeedBrokers(e.brokers), kgo.MetadataMinAge(10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kafka.Close)
	e.admin = kadm.NewClient(e.kafka)
	uri, name := enginetest.Mongo(t), fmt.Sprintf("carts%d", own)
	connect := func(o *options.ClientOptions) *mongo.Collection {
		client, err := mongo.Connect(o.ApplyURI(uri))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
		return client.Database("recovery").Collection(name)
	}
	e.carts = connect(options.Client())
	e.reached = connect(options.Client().SetDialer(e.toMongo).SetServerSelectionTimeout(300 * time.Millisecond))
	return e
}

func (e *engines) open(t *testing.T, shards int) *cart.Store {
	t.Helper()
	return e.openThrough(t, shards, nil)
}

// openThrough opens a Store that reaches Redis by dial, where that isn't nil.
func (e *engines) openThrough(t *testing.T, shards int, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *cart.Store {
	t.Helper()
	o, err := (&env.Redis{Addrs: []string{e.addr}}).Options()
	if err != nil {
		t.Fatal(err)
	}
	o.Dialer = dial
	s, err := cart.Open(cart.Options{
		Redis: o, Shards: shards, Currency: "EUR", Limits: cart.Limits{Quantity: 999, Lines: 500}, KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// config is a recovery of the Store, on the engines as far as their gates are open.
func (e *engines) config(t *testing.T, s *cart.Store, instance string) recovery.Config {
	t.Helper()
	o := []kgo.Opt{kgo.SeedBrokers(e.brokers), kgo.Dialer(e.toKafka.DialContext), kgo.MetadataMinAge(10 * time.Millisecond)}
	client, err := kgo.NewClient(o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return recovery.Config{Store: s, Carts: e.reached, Kafka: kadm.NewClient(client), Options: o, Topic: e.topic, PersistGroup: e.group,
		Instance: instance, Log: slog.New(slog.DiscardHandler)}
}

// run starts an instance that recovers until its test ends, or until it is stopped. What it ends with is delivered.
func (e *engines) run(t *testing.T, s *cart.Store, instance string) (stop func(), ended <-chan error) {
	t.Helper()
	return e.start(t, e.config(t, s, instance))
}

func (e *engines) start(t *testing.T, c recovery.Config) (stop func(), ended <-chan error) {
	t.Helper()
	r := recovery.New(c)
	c.Store.RestoreWith(r)
	ctx, cancel := context.WithCancel(context.Background())
	end, over := make(chan error, 1), make(chan struct{})
	go func() {
		end <- r.Run(ctx)
		close(over)
	}()
	stop = func() {
		cancel()
		<-over
	}
	t.Cleanup(stop)
	return stop, end
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-every.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// look makes the Store look at every shard, as the relay's heartbeats do.
func look(t *testing.T, s *cart.Store) {
	t.Helper()
	if _, err := s.Beat(t.Context(), "watcher", time.Second, make([]schemas.ShardWish, s.Shards())); err != nil {
		t.Fatal(err)
	}
}

func served(s *cart.Store, user string, version int64) func() error {
	return func() error {
		v, err := s.Get(context.Background(), user)
		if err == nil && v.Version != version {
			err = fmt.Errorf("version %d, want %d", v.Version, version)
		}
		return err
	}
}

// keep puts a cart into MongoDB, as persist does.
func (e *engines) keep(t *testing.T, user string, epoch, version int64) {
	t.Helper()
	at := schemas.Milliseconds(1)
	c := schemas.Cart{UserID: user, Epoch: epoch, Version: version, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{
		{BookID: "emma", Title: "Emma", UnitPrice: 1299, Quantity: version, LineTotal: version * 1299, Availability: schemas.Available}}}
	c.Totals = schemas.Sum(c.Items)
	if _, err := e.carts.InsertOne(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// committed notes that persist has stored every record of the partition before the offset.
func (e *engines) committed(t *testing.T, partition int32, offset int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(e.topic, partition, offset, -1)
	if err := e.admin.CommitAllOffsets(t.Context(), e.group, offsets); err != nil {
		t.Fatal(err)
	}
}

// create makes the topic.
func (e *engines) create(t *testing.T) {
	t.Helper()
	if _, err := e.admin.CreateTopic(t.Context(), partitions, 1, nil, e.topic); err != nil {
		t.Fatal(err)
	}
}

// loses makes Redis lose everything.
func (e *engines) loses(t *testing.T) {
	t.Helper()
	if err := e.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// keysOf returns the keys that match, of which there must be some.
func (e *engines) keysOf(t *testing.T, pattern string) []string {
	t.Helper()
	keys, err := e.redis.Keys(t.Context(), pattern).Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %s: %v, %v", pattern, keys, err)
	}
	return keys
}

// logged collects what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// says returns an error until something was logged.
func (l *logged) says(what string) func() error {
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !strings.Contains(l.text.String(), what) {
			return fmt.Errorf("nothing says %q in %s", what, l.text.String())
		}
		return nil
	}
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
