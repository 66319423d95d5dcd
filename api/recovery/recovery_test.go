package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// engines are what a recovery stands on.
type engines struct {
	redis   string
	brokers string
	kafka   *kgo.Client
	topic   string // this test's alone
	carts   *mongo.Collection
}

func setup(t *testing.T) *engines {
	t.Helper()
	e := &engines{redis: enginetest.Redis(t), brokers: enginetest.Kafka(t), topic: fmt.Sprintf("recovery-%d", time.Now().UnixNano())}
	var err error
	if e.kafka, err = kgo.NewClient(kgo.SeedBrokers(e.brokers), kgo.MetadataMinAge(10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kafka.Close)
	client, err := mongo.Connect(options.Client().ApplyURI(enginetest.Mongo(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	e.carts = client.Database("recovery").Collection(fmt.Sprintf("carts%d", time.Now().UnixNano()))
	return e
}

func (e *engines) open(t *testing.T, shards int) *cart.Store {
	t.Helper()
	o, err := (&env.Redis{Addrs: []string{e.redis}}).Options()
	if err != nil {
		t.Fatal(err)
	}
	s, err := cart.Open(cart.Options{
		Redis: o, Shards: shards, Currency: "EUR", Limits: cart.Limits{Quantity: 999, Lines: 500}, KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// run starts an instance that recovers until its test ends.
func (e *engines) run(t *testing.T, s *cart.Store, instance string) (*recovery.Recovery, <-chan error) {
	t.Helper()
	return e.runWith(t, s, recovery.Config{Instance: instance})
}

// runWith starts an instance as run does, with more settings.
func (e *engines) runWith(t *testing.T, s *cart.Store, c recovery.Config) (*recovery.Recovery, <-chan error) {
	t.Helper()
	c.Store, c.Carts, c.Topic, c.PersistGroup, c.Log = s, e.carts, e.topic, "persist", slog.New(slog.DiscardHandler)
	if c.Kafka == nil {
		c.Kafka, c.Options = kadm.NewClient(e.kafka), []kgo.Opt{kgo.SeedBrokers(e.brokers)}
	}
	r := recovery.New(c)
	s.RestoreWith(r)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended // what it returned, or, where a test took that, the end
	})
	return r, ended
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

// store puts a cart into MongoDB, as persist does.
func (e *engines) store(t *testing.T, user string, epoch, version int64) {
	t.Helper()
	at := schemas.Milliseconds(1)
	c := schemas.Cart{UserID: user, Epoch: epoch, Version: version, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{
		{BookID: "b", Title: "B", UnitPrice: 5, Quantity: 2, LineTotal: 10, Availability: schemas.Available}}}
	c.Totals = schemas.Sum(c.Items)
	if _, err := e.carts.InsertOne(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestAFreshDeploymentOpens(t *testing.T) {
	e := setup(t)
	s := e.open(t, 8)
	r, _ := e.run(t, s, "one")
	eventually(t, "a new user's cart", served(s, "u1", 0))
	eventually(t, "every shard", func() error {
		look(t, s)
		if ready, recovering := r.Count(); ready != 8 || recovering != 0 {
			return fmt.Errorf("%d ready, %d recovering", ready, recovering)
		}
		return nil
	})
}

func TestTwoInstancesAtOnceOpenOneGeneration(t *testing.T) {
	e := setup(t)
	one, two := e.open(t, 8), e.open(t, 8)
	e.run(t, one, "one")
	e.run(t, two, "two")
	for _, s := range []*cart.Store{one, two} {
		eventually(t, "a new user's cart", served(s, "u1", 0))
	}
	a, err := one.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Get(t.Context(), "u1")
	if err != nil || a.Generation != b.Generation {
		t.Fatalf("generations %d and %d (%v)", a.Generation, b.Generation, err)
	}
}

func TestAnEpochInMongoDBIsNeverReached(t *testing.T) {
	e := setup(t)
	future := time.Now().Add(24 * time.Hour).UnixMilli() // a clock that went back since
	e.store(t, "u1", future, 3)
	s := e.open(t, 8)
	e.run(t, s, "one")
	eventually(t, "the stored cart", served(s, "u1", 3))
	if v, err := s.Get(t.Context(), "u1"); err != nil || v.Generation <= future || v.Epoch != future {
		t.Fatalf("epoch %d under generation %d (%v), want %d under a higher one", v.Epoch, v.Generation, err, future)
	}
}

func TestALostCartWaitsForWhatKafkaHolds(t *testing.T) {
	e := setup(t)
	admin := kadm.NewClient(e.kafka)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, e.topic); err != nil {
		t.Fatal(err)
	}
	if err := e.kafka.ProduceSync(t.Context(), &kgo.Record{Topic: e.topic, Key: []byte("u1"), Value: []byte("{}")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e.store(t, "u1", 7, 3)
	s := e.open(t, 8)
	r, _ := e.run(t, s, "one")
	behind := func() error {
		look(t, s)
		_, err := s.Get(t.Context(), "u1")
		var u *cart.Unavailable
		if !errors.As(err, &u) || !u.Recovering {
			return fmt.Errorf("%w, want unavailable and recovering", err)
		}
		if ready, recovering := r.Count(); ready != 0 || recovering != 8 {
			return fmt.Errorf("%d ready, %d recovering; want none ready", ready, recovering)
		}
		return nil
	}
	eventually(t, "a lost shard", behind)
	var offsets kadm.Offsets
	offsets.AddOffset(e.topic, 0, 1, -1)
	if err := admin.CommitAllOffsets(t.Context(), "persist", offsets); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cart once persist has stored it", served(s, "u1", 3))
	eventually(t, "every shard", func() error {
		look(t, s)
		if ready, _ := r.Count(); ready != 8 {
			return fmt.Errorf("%d ready", ready)
		}
		return nil
	})
}

func TestALossIsSeenAgainAndAgain(t *testing.T) {
	e := setup(t)
	for i := range 20 {
		e.store(t, fmt.Sprintf("u%d", i), 7, 3)
	}
	s := e.open(t, 8)
	e.run(t, s, "one")
	client := redis.NewClient(&redis.Options{Addr: e.redis})
	defer client.Close()
	var generation int64
	for range 3 {
		for i := range 20 {
			eventually(t, "a stored cart", served(s, fmt.Sprintf("u%d", i), 3))
		}
		v, err := s.Get(t.Context(), "u1")
		if err != nil || v.Generation <= generation {
			t.Fatalf("generation %d after %d (%v)", v.Generation, generation, err)
		}
		generation = v.Generation
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnotherNumberOfShardsIsRefused(t *testing.T) {
	for claim, c := range map[string][2]int{"more": {8, 16}, "fewer": {16, 8}, "one": {8, 1}, "no divisor": {96, 128}} {
		t.Run(claim, func(t *testing.T) {
			e := setup(t)
			s := e.open(t, c[0])
			e.run(t, s, "one")
			eventually(t, "a new user's cart", served(s, "u1", 0))
			other := e.open(t, c[1])
			if _, err := other.Get(t.Context(), "u1"); !errors.Is(err, cart.ErrShards) {
				t.Errorf("reading with %d shards: %v, want ErrShards", c[1], err)
			}
			_, ended := e.run(t, other, "two")
			select {
			case err := <-ended:
				if !errors.Is(err, cart.ErrShards) {
					t.Fatalf("%v, want ErrShards", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}
