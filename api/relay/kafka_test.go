package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/relay"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// kafka is a cluster in memory that can go away and come back.
type kafka struct {
	*kfake.Cluster
	network kfake.VirtualNetwork
	env.Kafka

	mu    sync.Mutex
	away  bool
	conns []net.Conn
}

const partitions = 4

func newKafka(t *testing.T, options ...kfake.Opt) *kafka {
	t.Helper()
	k := &kafka{}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(3), kfake.Ports(1, 2, 3), kfake.ListenFn(k.network.Listen),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	k.Cluster = cluster
	k.Kafka = env.Kafka{Brokers: cluster.ListenAddrs(), Partitions: partitions, Replication: 1}
	return k
}

// dial connects, unless Kafka is away.
func (k *kafka) dial(ctx context.Context, network, address string) (net.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return nil, errors.New("connection refused")
	}
	conn, err := k.network.DialContext(ctx, network, address)
	if err == nil {
		k.conns = append(k.conns, conn)
	}
	return conn, err
}

// leave cuts all connections and refuses new ones until back.
func (k *kafka) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = true
	for _, c := range k.conns {
		c.Close()
	}
	k.conns = nil
}

func (k *kafka) back() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = false
}

// client returns a client of the test's own.
func (k *kafka) client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(k.ListenAddrs()...), kgo.Dialer(k.network.DialContext))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// remove deletes the topic.
func (k *kafka) remove(t *testing.T, topic string) error {
	t.Helper()
	_, err := kadm.NewClient(k.client(t)).DeleteTopic(t.Context(), topic)
	return err
}

// records returns what stands in a topic, each partition in order.
func (k *kafka) records(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	client := k.client(t, kgo.ConsumeTopics(topic))
	want := 0
	for _, p := range k.PartitionInfos(topic) {
		want += int(p.HighWatermark)
	}
	var records []*kgo.Record
	for len(records) < want {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// entry is a change of a user's cart; its value says which, padded to at least size bytes.
func entry(user string, version, size int) schemas.OutboxEntry {
	value := user + ":" + strconv.Itoa(version)
	if n := size - len(value) - 1; n > 0 {
		value += " " + strings.Repeat("x", n)
	}
	at := schemas.At(time.Now())
	return schemas.OutboxEntry{
		Topic: schemas.CartEvents, Key: user, Value: []byte(value),
		Headers: schemas.Headers(schemas.CartVersionID(user, 1, int64(version)), "cart.item_added", user, at, ""),
	}
}

// checkOrder fails unless the records hold versions 1 to last[user] of every user, each first after all lower ones.
func checkOrder(t *testing.T, records []*kgo.Record, last map[string]int) {
	t.Helper()
	seen := map[string]int{}
	for _, r := range records {
		user := string(r.Key)
		text, _, _ := strings.Cut(string(r.Value), " ")
		version, err := strconv.Atoi(strings.TrimPrefix(text, user+":"))
		if err != nil {
			t.Fatalf("value %.40q", r.Value)
		}
		if version > seen[user]+1 {
			t.Fatalf("version %d of %s appears after %d (partition %d, offset %d)", version, user, seen[user], r.Partition, r.Offset)
		}
		seen[user] = max(seen[user], version)
		if want := schemas.Partition(user, partitions); int(r.Partition) != want {
			t.Fatalf("%s is in partition %d, want %d", user, r.Partition, want)
		}
	}
	for user, version := range last {
		if seen[user] != version {
			t.Errorf("of %s, Kafka has versions to %d of %d", user, seen[user], version)
		}
	}
}

// instance is a relay that runs.
type instance struct {
	*prometheus.Registry
	drain func()      // ends it as its context does, and waits
	ended func() bool // its Run has returned
	err   func() error
}

// start runs a relay until the test ends.
func start(t *testing.T, name string, k *kafka, o *outbox, options ...kgo.Opt) *instance {
	t.Helper()
	return startTrimming(t, name, k, o, 0, options...)
}

// startTrimming starts an instance that trims a busy outbox only so often.
func startTrimming(t *testing.T, name string, k *kafka, o *outbox, every time.Duration, options ...kgo.Opt) *instance {
	t.Helper()
	i := &instance{Registry: prometheus.NewRegistry()}
	r, err := relay.New(relay.Config{
		TrimEvery: every,
		Outbox:    o, Kafka: k.Kafka, Shards: len(o.shards), Instance: name,
		Logger:     slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Registerer: i.Registry,
		Client:     append([]kgo.Opt{kgo.Dialer(k.dial)}, options...),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var result error
	go func() {
		defer close(done)
		result = r.Run(ctx)
	}()
	i.drain = func() { cancel(); <-done }
	i.ended = func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	i.err = func() error { <-done; return result }
	t.Cleanup(i.drain)
	return i
}

// value returns the sum of a metric over its labels.
func (i *instance) value(t *testing.T, name string) float64 {
	t.Helper()
	families, err := i.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "cartstream_relay_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

type testWriter struct{ *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		w.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

var _ io.Writer = testWriter{}

// within waits for a condition, on the test's clock, and returns how long that took.
func within(t *testing.T, d time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(5 * time.Millisecond) // of fake time
		synctest.Wait()
	}
	return time.Since(begin)
}

func users(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("u%d", i)
	}
	return all
}
