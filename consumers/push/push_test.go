package push_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"cartstream/api/cart"
	"cartstream/consumers/push"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pubsub remembers what was published, and fails while it is away.
type pubsub struct {
	mu   sync.Mutex
	away error
	seen map[string][]string // payloads by user, in order
	lost int
}

func (p *pubsub) Publish(_ context.Context, notices []cart.Notice) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away != nil {
		p.lost += len(notices)
		return p.away
	}
	for _, n := range notices {
		p.seen[n.User] = append(p.seen[n.User], string(n.Payload))
	}
	return nil
}

func (p *pubsub) of(user string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.seen[user]...)
}

// bundle is a running consumer.
type bundle struct {
	t       *testing.T
	redis   *pubsub
	metrics *prometheus.Registry
	kafka   *kgo.Client
}

func setup(t *testing.T) *bundle {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, schemas.CartEvents, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(cluster.Close)
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	client, err := kgo.NewClient(brokers)
	must(t, err)
	t.Cleanup(client.Close)
	b := &bundle{t: t, redis: &pubsub{seen: map[string][]string{}}, metrics: prometheus.NewRegistry(), kafka: client}
	quiet := slog.New(slog.DiscardHandler)
	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{brokers}, DeadLetters: schemas.CartDLQ, Logger: quiet},
		push.Consumer(b.redis, b.metrics, quiet))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	return b
}

func (b *bundle) produce(key string, values ...string) {
	b.t.Helper()
	for _, v := range values {
		rec := &kgo.Record{Topic: schemas.CartEvents, Key: []byte(key), Value: []byte(v)}
		must(b.t, b.kafka.ProduceSync(b.t.Context(), rec).FirstErr())
	}
}

// change is a record's value, with a field that this version doesn't know.
func change(user string, version string) string {
	return `{"userId":"` + user + `","epoch":1,"version":` + version + `,"type":"item_set","items":[],"later":true}`
}

func TestEveryChangeIsPublishedInOrderByteForByte(t *testing.T) {
	b := setup(t)
	values := []string{change("u1", "1"), change("u1", "2"), change("u1", "3")}
	b.produce("u1", values...)
	b.produce("u2", change("u2", "1"))
	b.await("all is published", func() bool { return len(b.redis.of("u1")) == 3 && len(b.redis.of("u2")) == 1 })
	if got := strings.Join(b.redis.of("u1"), "\n"); got != strings.Join(values, "\n") {
		t.Errorf("published:\n%s", got)
	}
}

func TestWhatCannotBePublishedIsDroppedAndStopsNothing(t *testing.T) {
	b := setup(t)
	b.redis.mu.Lock()
	b.redis.away = errors.New("connection refused")
	b.redis.mu.Unlock()
	b.produce("u1", change("u1", "1"))
	b.await("the change is dropped", func() bool {
		b.redis.mu.Lock()
		defer b.redis.mu.Unlock()
		return b.redis.lost == 1
	})
	b.redis.mu.Lock()
	b.redis.away = nil
	b.redis.mu.Unlock()
	b.produce("u1", change("u1", "2"))
	b.await("the next one is published", func() bool { return len(b.redis.of("u1")) == 1 })
	if got := b.redis.of("u1")[0]; got != change("u1", "2") {
		t.Errorf("published %s: the dropped one came back late", got)
	}
	b.await("one batch counts as dropped", func() bool { return b.batches("dropped") == 1 })
	b.await("one batch counts as published", func() bool { return b.batches("published") == 1 })
}

// batches is the metric of that outcome.
func (b *bundle) batches(outcome string) float64 {
	families, err := b.metrics.Gather()
	must(b.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "cartstream_push_batches_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func TestWhatCannotBeReadIsParkedNotPublished(t *testing.T) {
	b := setup(t)
	b.produce("u1", `{"userId":"u1"`, change("u1", "2"))
	b.await("the next one is published", func() bool { return len(b.redis.of("u1")) == 1 })
	b.kafka.AddConsumeTopics(schemas.CartDLQ)
	letters := b.kafka.PollFetches(t.Context()).Records()
	if len(letters) != 1 || string(letters[0].Value) != `{"userId":"u1"` {
		t.Errorf("dead letters: %v", letters)
	}
}

func (b *bundle) await(claim string, holds func() bool) {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("it never became true that %s", claim)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
