//go:build engines

package engine_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

func cache(t *testing.T, engines ...install.Engine) *install.Cache {
	t.Helper()
	c, err := install.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ensure(t.Context(), engines...); err != nil {
		t.Fatal(err)
	}
	return c
}

func killAtEnd(t *testing.T, kill func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := kill(); err != nil {
			t.Error(err)
		}
	})
}

// within repeats f until it succeeds, for half a minute.
func within(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func redisAt(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestARedisReplicaHasWhatItsMasterHasAndCanTakeOver(t *testing.T) {
	cache(t, install.Redis)
	dir := t.TempDir()
	master, err := engine.StartRedis(t.Context(), engine.RedisOptions{Name: "master", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, master.Kill)
	replica, err := engine.StartRedis(t.Context(), engine.RedisOptions{Name: "replica", Dir: dir, ReplicaOf: master.Addr})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, replica.Kill)

	first, second := redisAt(t, master.Addr), redisAt(t, replica.Addr)
	if err := first.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := first.Wait(t.Context(), 1, 10*time.Second).Result(); n != 1 || err != nil {
		t.Fatalf("%d replicas have it, %v", n, err)
	}
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := second.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := second.Get(t.Context(), "k").Result(); v != "v" || err != nil {
		t.Errorf("the replica has %q, %v", v, err)
	}
}

func TestARedisIsSetUpAsDurablyAsProduction(t *testing.T) {
	cache(t, install.Redis)
	p, err := engine.StartRedis(t.Context(), engine.RedisOptions{Dir: t.TempDir(), Args: []string{"--maxmemory", "64mb"}})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, p.Kill)
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxmemory": "67108864",
	} {
		got, err := redisAt(t, p.Addr).ConfigGet(t.Context(), name).Result()
		if err != nil || got[name] != want {
			t.Errorf("%s is %q, %v, want %q", name, got[name], err, want)
		}
	}
}

func TestARedisClusterSurvivesAKilledMaster(t *testing.T) {
	cache(t, install.Redis)
	nodes, err := engine.StartRedisCluster(t.Context(), t.TempDir(), 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.Addr
		killAtEnd(t, n.Kill)
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = c.Close() })
	write := func(ctx context.Context, from, to int) error {
		for i := from; i < to; i++ {
			if err := c.Set(ctx, "k"+strconv.Itoa(i), i, 0).Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, func(ctx context.Context) error { return write(ctx, 100, 200) })
}

func TestKafkaOfThreeNodesKeepsWhatItAcknowledgedWhenOneIsKilled(t *testing.T) {
	libs := cache(t, install.Kafka).KafkaLibs()
	k, err := engine.StartKafka(t.Context(), engine.KafkaOptions{Libs: libs, Dir: t.TempDir(), Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, k.Kill)
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.Brokers(), ",")...), kgo.DefaultProduceTopic("t"), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	two := "2"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 4, 3, map[string]*string{"min.insync.replicas": &two}, "t"); err != nil {
		t.Fatal(err)
	}
	const records = 2000
	for i := range records {
		if i == records/2 {
			if err := k.Nodes[0].Kill(); err != nil {
				t.Fatal(err)
			}
		}
		client.Produce(t.Context(), kgo.StringRecord(strconv.Itoa(i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.Nodes[0].Start(t.Context()); err != nil {
		t.Errorf("the killed node does not come back: %v", err)
	}
	seen := map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(seen) < records {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("only %d of %d records came back", len(seen), records)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
	}
}

func TestKafkaOfOneNodeHasTransactionsAndCreatesNoTopicUnasked(t *testing.T) {
	libs := cache(t, install.Kafka).KafkaLibs()
	k, err := engine.StartKafka(t.Context(), engine.KafkaOptions{Libs: libs, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, k.Kill)
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.Brokers(), ",")...), kgo.TransactionalID("x"), kgo.UnknownTopicRetries(1))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "unknown"}).FirstErr(); err == nil {
		t.Error("a topic was created unasked")
	}
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t"}).FirstErr(); err != nil {
		t.Error(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Error(err)
	}
}

func TestMongoDBKeepsWhatItAcknowledgedWhenItIsKilled(t *testing.T) {
	c := cache(t, install.MongoDB)
	m, err := engine.StartMongoDB(t.Context(), engine.MongoDBOptions{
		Root: c.DocumentDB(), Template: c.DocumentDBTemplate(), FerretDB: c.FerretDB(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, m.Kill)
	client, err := mongo.Connect(options.Client().ApplyURI(m.URI))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.WithoutCancel(t.Context())) //nolint:errcheck // only a connection
	carts := client.Database("cartstream").Collection("carts")
	for i := range 50 {
		if _, err := carts.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := m.Postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, func(ctx context.Context) error {
		n, err := carts.CountDocuments(ctx, bson.D{})
		if err == nil && n != 50 {
			err = errors.New(strconv.FormatInt(n, 10) + " of 50 documents are left")
		}
		return err
	})
}
