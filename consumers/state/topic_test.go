package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// redis is carts that change while they are read, and that now and then can't be.
type redis struct {
	mu    sync.Mutex
	carts map[string]schemas.Cart
}

func (r *redis) Get(_ context.Context, user string) (cart.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rand.IntN(50) == 0 {
		return cart.View{}, &cart.Unavailable{Err: errors.New("connection refused"), Recovering: rand.IntN(2) == 0}
	}
	return cart.View{Cart: r.carts[user]}, nil
}

// change makes the next version of a user's cart and returns its event.
func (r *redis) change(user string) *kgo.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := schemas.At(time.Now())
	c := r.carts[user]
	c.UserID, c.Epoch, c.Currency, c.Items, c.UpdatedAt = user, 1, "EUR", []schemas.Line{}, &at
	c.Version++
	r.carts[user] = c
	return &kgo.Record{Topic: schemas.CartEvents, Key: []byte(user), Value: schemas.EncodeCartChanged(schemas.CartChanged{
		UserID: user, Epoch: c.Epoch, Version: c.Version, Type: schemas.ItemAdded, Items: []schemas.Line{}, Currency: "EUR", OccurredAt: at,
	})}
}

// follow reads the topic as downstream does, until its newest record of each user is what want says.
func follow(t *testing.T, brokers []string, want map[string]int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(schemas.CartState),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := map[string]int64{}
	for !maps.Equal(got, want) {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the topic ends at %v, want %v", got, want)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c, err := schemas.DecodeCart(r.Value)
			if err != nil || c.UserID != string(r.Key) {
				t.Errorf("key %s: %s (%v)", r.Key, r.Value, err)
			}
			if c.Version < got[c.UserID] {
				t.Errorf("user %s went back from %d to %d", c.UserID, got[c.UserID], c.Version)
			}
			got[c.UserID] = c.Version
		})
	}
}

func TestTheTopicNeverGoesBackAndEndsAsTheCartsAre(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(4, schemas.CartEvents, schemas.CartState, schemas.CartDLQ))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	brokers := cluster.ListenAddrs()
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()

	carts := &redis{carts: map[string]schemas.Cart{}}
	start := func() (stop func()) {
		r, err := runner.New(runner.Config{
			Kafka:       []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.HeartbeatInterval(100 * time.Millisecond)},
			DeadLetters: schemas.CartDLQ,
		}, Consumer(carts, nobody, prometheus.NewRegistry()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		return sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	stop := start()
	want := map[string]int64{}
	for n := range 2000 {
		user := fmt.Sprintf("u%d", rand.IntN(20))
		event := carts.change(user)
		want[user]++
		producer.Produce(t.Context(), event, nil)
		if n%7 == 0 { // as after a takeover of a shard
			again := *event
			again.Context = nil
			producer.Produce(t.Context(), &again, nil)
		}
		if n == 700 {
			defer start()()
		}
		if n == 1400 {
			stop()
		}
		if n%20 == 0 {
			if err := producer.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow(t, brokers, want)
	for _, p := range cluster.PartitionInfos(schemas.CartDLQ) {
		if p.HighWatermark != 0 {
			t.Errorf("%d dead letters in partition %d", p.HighWatermark, p.Partition)
		}
	}
}
