package state

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// bench is a broker, carts, and members of the group that follow both.
type bench struct {
	*kgo.Client
	brokers []string
	carts   *redis
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, schemas.CartEvents, schemas.CartState, schemas.CartDLQ))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &bench{cl, cluster.ListenAddrs(), &redis{carts: map[string]schemas.Cart{}}}
}

// member starts a member of the group, which ends with the test at the latest.
func (b *bench) member(t *testing.T) (stop func()) {
	t.Helper()
	r, err := runner.New(runner.Config{
		Kafka:       []kgo.Opt{kgo.SeedBrokers(b.brokers...), kgo.HeartbeatInterval(100 * time.Millisecond)},
		DeadLetters: schemas.CartDLQ,
	}, Consumer(b.carts, nobody, prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (b *bench) relay(t *testing.T, events ...*kgo.Record) {
	t.Helper()
	if err := b.ProduceSync(t.Context(), events...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// get and set are what Redis holds of a user's cart.
func (b *bench) get(user string) schemas.Cart {
	b.carts.mu.Lock()
	defer b.carts.mu.Unlock()
	return b.carts.carts[user]
}

func (b *bench) set(user string, c schemas.Cart) {
	b.carts.mu.Lock()
	defer b.carts.mu.Unlock()
	b.carts.carts[user] = c
}

// commits waits until the group has committed an offset.
func (b *bench) commits(t *testing.T, want int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for at := int64(-1); at != want; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d is committed, want %d", at, want)
		}
		if offsets, err := kadm.NewClient(b.Client).FetchOffsets(ctx, "state"); err == nil {
			if o, ok := offsets.Lookup(schemas.CartEvents, 0); ok {
				at = o.At
			}
		}
	}
}

func TestTheTopicFollowsARedisThatWentBack(t *testing.T) {
	for claim, c := range map[string]struct {
		restart bool // the member ends while Redis is at a version that Kafka doesn't have
		behind  bool // Redis lost the relayed version, too, and recovery brings it back
	}{
		"by the change that Kafka didn't have yet":            {},
		"also where the member ended meanwhile":               {restart: true},
		"by a change that recovery brings back":               {behind: true},
		"by one that comes back after the member's own death": {behind: true, restart: true},
	} {
		t.Run(claim, func(t *testing.T) {
			b := newBench(t)
			first := b.carts.change("u")
			before := b.get("u")
			second := b.carts.change("u")
			relayed := b.get("u")
			b.carts.change("u") // never relayed
			stop := b.member(t)
			b.relay(t, first, second)
			b.relay(t, b.carts.change("w"))
			follow(t, b.brokers, map[string]int64{"w": 1}) // so the changes before it were looked at
			if c.behind {
				b.set("u", before)
			}
			if c.restart {
				stop()
				b.member(t)
			}
			if c.behind {
				b.relay(t, b.carts.change("x"))
				follow(t, b.brokers, map[string]int64{"w": 1, "x": 1})
			}
			b.set("u", relayed)
			want := map[string]int64{"w": 1, "u": 2}
			end := int64(3)
			if c.behind {
				want["x"], end = 1, 4
			}
			follow(t, b.brokers, want)
			b.commits(t, end)
		})
	}
}

func TestOnlyAYoungDifferenceIsWatched(t *testing.T) {
	for claim, c := range map[string]struct {
		age  time.Duration
		want int64
	}{
		"of an hour":      {time.Hour, 0},
		"not of two days": {48 * time.Hour, 2},
	} {
		t.Run(claim, func(t *testing.T) {
			b := newBench(t)
			event := b.carts.change("u")
			value, err := schemas.DecodeCartChanged(event.Value)
			if err != nil {
				t.Fatal(err)
			}
			at := schemas.At(time.Now().Add(-c.age))
			value.OccurredAt = at
			event.Value = schemas.EncodeCartChanged(value)
			b.carts.change("u")
			ahead := b.get("u")
			ahead.UpdatedAt = &at
			b.set("u", ahead)
			b.member(t)
			b.relay(t, event, b.carts.change("w"))
			follow(t, b.brokers, map[string]int64{"w": 1})
			b.commits(t, c.want)
		})
	}
}
