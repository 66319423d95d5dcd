package enginetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(ctx context.Context, t *testing.T, claim string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never became true that %s", claim)
		}
	}
}

func redisClient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mongoDatabase(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	parsed, err := connstring.ParseAndValidate(uri)
	check(t, err)
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	check(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(parsed.Database)
}

func kafkaClient(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers))...)
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

func created(r kadm.CreateTopicResponse, err error) error {
	if err != nil {
		return err
	}
	return r.Err
}

// create makes a topic of one partition, so that its records have one order.
func create(ctx context.Context, t *testing.T, brokers, topic string) {
	t.Helper()
	check(t, created(kadm.NewClient(kafkaClient(t, brokers)).CreateTopic(ctx, 1, 1, nil, topic)))
}

func produce(ctx context.Context, t *testing.T, brokers, topic string, keys ...string) {
	t.Helper()
	c := kafkaClient(t, brokers)
	for _, key := range keys {
		check(t, c.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte("x")}).FirstErr())
	}
}

// consumeAsGroup reads n committed records' keys as a member of the group, then commits and leaves.
func consumeAsGroup(ctx context.Context, t *testing.T, brokers, group, topic string, n int) []string {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(t, err)
	defer c.Close()
	var keys []string
	for len(keys) < n {
		fetches := c.PollFetches(ctx)
		check(t, fetches.Err0())
		for _, r := range fetches.Records() {
			keys = append(keys, string(r.Key))
		}
	}
	check(t, c.CommitUncommittedOffsets(ctx))
	check(t, c.LeaveGroupContext(ctx))
	return keys
}
