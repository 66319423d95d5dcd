package runner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"cartstream/consumers/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	in  = "in"
	out = "out"
	dlq = "dlq"
)

var errAway = errors.New("connection refused")

// kafka is a broker with the topics in, out and dlq, and a client of it. The Cluster is nil where it is a real one.
type kafka struct {
	*kfake.Cluster
	*kgo.Client
	brokers []string
	session time.Duration // the shortest that the broker allows
}

func newKafka(t *testing.T, partitions int32, more ...kfake.Opt) *kafka {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(partitions, in, out), kfake.SeedTopics(1, dlq),
		kfake.GroupMinSessionTimeout(time.Second),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &kafka{c, client(t, c.ListenAddrs()), c.ListenAddrs(), time.Second}
}

func client(t *testing.T, brokers []string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// write appends a record to a partition of in and returns its offset.
func (k *kafka) write(t *testing.T, partition int32, key, value string) int64 {
	t.Helper()
	r := &kgo.Record{Topic: in, Partition: partition, Key: []byte(key), Value: []byte(value)}
	if value == "null" {
		r.Value = nil
	}
	return k.put(t, r)
}

func (k *kafka) put(t *testing.T, r *kgo.Record) int64 {
	t.Helper()
	if err := k.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return r.Offset
}

// committed is a group's next offset in a partition of in, -1 where it has none.
func (k *kafka) committed(group string, partition int32) int64 {
	offsets, err := kadm.NewClient(k.Client).FetchOffsets(context.Background(), group)
	if err != nil {
		return -1 // no coordinator yet
	}
	if o, ok := offsets.Lookup(in, partition); ok {
		return o.At
	}
	return -1
}

// members is how many members of a stable group have partitions.
func (k *kafka) members(group string) int {
	groups, err := kadm.NewClient(k.Client).DescribeGroups(context.Background(), group)
	if err != nil || groups[group].State != "Stable" {
		return 0
	}
	n := 0
	for _, m := range groups[group].Members {
		if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) > 0 {
			n++
		}
	}
	return n
}

// read returns everything that is committed in a topic now.
func (k *kafka) read(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	ends, err := kadm.NewClient(k.Client).ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	next := map[int32]int64{}
	var all []*kgo.Record
	for {
		behind := false
		ends.Each(func(o kadm.ListedOffset) { behind = behind || next[o.Partition] < o.Offset })
		if !behind {
			return all
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s was read to %v only, its ends are %v", topic, next, ends)
		}
		cancel()
		fetches.EachRecord(func(r *kgo.Record) {
			next[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
}

// running is a Runner in its own goroutine.
type running struct {
	*runner.Runner
	stop func() // drains it and waits; may be called again
	reg  *prometheus.Registry
}

func run(t *testing.T, k *kafka, consumers ...runner.Runnable) *running {
	t.Helper()
	return runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}}, consumers...)
}

// fast makes a group notice what happens sooner than in production.
func fast(cfg runner.Config) runner.Config {
	cfg.Kafka = append(cfg.Kafka, kgo.MetadataMinAge(50*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond))
	return cfg
}

func runWith(t *testing.T, cfg runner.Config, consumers ...runner.Runnable) *running {
	t.Helper()
	cfg = fast(cfg)
	reg := prometheus.NewRegistry()
	cfg.DeadLetters, cfg.Registerer = dlq, reg
	if os.Getenv("RUNNER_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := runner.New(cfg, consumers...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return &running{r, stop, reg}
}

// metric is the value of a counter or gauge, summed over its labels.
func (r *running) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		var sum float64
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// seen is what a consumer was given and accepted, in order.
type seen struct {
	mu      sync.Mutex
	records []string
}

func (s *seen) add(batch []runner.Record[string]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch {
		s.records = append(s.records, r.Value)
	}
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

func (s *seen) has(values ...string) bool {
	all := s.all()
	for _, v := range values {
		if !slices.Contains(all, v) {
			return false
		}
	}
	return true
}

func text(b []byte) (string, error) {
	if string(b) == "garbled" {
		return "", errors.New("no JSON")
	}
	return string(b), nil
}

// consumer accepts every record but "poison", unless handle says otherwise.
func consumer(s *seen, handle func(context.Context, []runner.Record[string]) error) runner.Consumer[string] {
	return runner.Consumer[string]{
		Group: "g", Topics: []string{in}, Decode: text,
		Handle: func(ctx context.Context, batch []runner.Record[string]) error {
			for _, r := range batch {
				if r.Value == "poison" {
					return runner.Permanent(errors.New("rejected"))
				}
			}
			if handle != nil {
				if err := handle(ctx, batch); err != nil {
					return err
				}
			}
			s.add(batch)
			return nil
		},
	}
}

func numbers(prefix string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return values
}
