package enginetest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/deploy/enginetest"
)

func TestEachRedisIsTheTestsOwn(t *testing.T) {
	first, second := redisClient(t, enginetest.Redis(t)), redisClient(t, enginetest.Redis(t))
	ctx := testContext(t)
	check(t, first.Set(ctx, "cart", "full", 0).Err())
	if n, err := second.Exists(ctx, "cart").Result(); err != nil || n != 0 {
		t.Fatalf("the second Redis sees the first one's key: %d, %v", n, err)
	}
}

func TestEmbeddedRedis(t *testing.T) {
	claims := map[string]func(t *testing.T, ctx context.Context, s *enginetest.Server, c *redis.Client){
		"a restart at the same address loses everything, scripts included": func(t *testing.T, ctx context.Context, s *enginetest.Server, c *redis.Client) {
			check(t, c.Set(ctx, "cart", "full", 0).Err())
			sha, err := c.ScriptLoad(ctx, "return 1").Result()
			check(t, err)
			s.Kill()
			s.Start()
			if n := c.Exists(ctx, "cart").Val(); n != 0 {
				t.Fatal("the key survived")
			}
			if err := c.EvalSha(ctx, sha, nil).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
				t.Fatalf("want NOSCRIPT, got %v", err)
			}
		},
		"keys expire by themselves": func(t *testing.T, ctx context.Context, _ *enginetest.Server, c *redis.Client) {
			check(t, c.Set(ctx, "lease", "mine", 200*time.Millisecond).Err())
			eventually(ctx, t, "the key is gone", func() bool { return c.Exists(ctx, "lease").Val() == 0 })
		},
		"a blocked XREAD wakes up for an entry with an explicit first half of its id": func(t *testing.T, ctx context.Context, _ *enginetest.Server, c *redis.Client) {
			got := make(chan string, 1)
			go func() {
				streams, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{"outbox", "0"}, Block: 10 * time.Second}).Result()
				if err != nil {
					got <- err.Error()
					return
				}
				got <- streams[0].Messages[0].ID
			}()
			check(t, c.XAdd(ctx, &redis.XAddArgs{Stream: "outbox", ID: "1700000000000-*", Values: []string{"e", "x"}}).Err())
			if id := <-got; id != "1700000000000-0" {
				t.Fatalf("woke up with %q", id)
			}
		},
		"a script replies with its error and with JSON": func(t *testing.T, ctx context.Context, _ *enginetest.Server, c *redis.Client) {
			if err := c.Eval(ctx, `return redis.error_reply("GENERATION other")`, nil).Err(); err == nil || err.Error() != "GENERATION other" {
				t.Fatalf("got %v", err)
			}
			if got := c.Eval(ctx, `return cjson.encode({a=cjson.decode(ARGV[1]).b})`, nil, `{"b":"c"}`).Val(); got != `{"a":"c"}` {
				t.Fatalf("got %v", got)
			}
		},
	}
	for claim, holds := range claims {
		t.Run(claim, func(t *testing.T) {
			s := enginetest.EmbeddedRedis(t)
			holds(t, testContext(t), s, redisClient(t, s.Addr))
		})
	}
}

func TestEmbeddedKafka(t *testing.T) {
	claims := map[string]func(t *testing.T, ctx context.Context, s *enginetest.Server){
		"a topic has the 16 partitions and the settings asked for": func(t *testing.T, ctx context.Context, s *enginetest.Server) {
			admin := kadm.NewClient(kafkaClient(t, s.Addr))
			size := "4194304"
			check(t, created(admin.CreateTopic(ctx, 16, 1, map[string]*string{"max.message.bytes": &size}, "cart.events.v1")))
			topics, err := admin.ListTopics(ctx)
			check(t, err)
			if n := len(topics["cart.events.v1"].Partitions); n != 16 {
				t.Fatalf("%d partitions", n)
			}
			configs, err := admin.DescribeTopicConfigs(ctx, "cart.events.v1")
			check(t, err)
			for _, c := range configs[0].Configs {
				if c.Key == "max.message.bytes" && c.MaybeValue() == size {
					return
				}
			}
			t.Fatal("max.message.bytes is not what was asked for")
		},
		"records, offsets and group commits survive a stop and a crash": func(t *testing.T, ctx context.Context, s *enginetest.Server) {
			create(ctx, t, s.Addr, "cart.events.v1")
			for _, end := range []func(){s.Stop, s.Kill} {
				produce(ctx, t, s.Addr, "cart.events.v1", "u1", "u2")
				consumeAsGroup(ctx, t, s.Addr, "persist", "cart.events.v1", 2)
				end()
				s.Start()
			}
			produce(ctx, t, s.Addr, "cart.events.v1", "u3")
			if got := consumeAsGroup(ctx, t, s.Addr, "persist", "cart.events.v1", 1); got[0] != "u3" {
				t.Fatalf("the group starts at %q again", got[0])
			}
			if got := consumeAsGroup(ctx, t, s.Addr, "state", "cart.events.v1", 5); len(got) != 5 {
				t.Fatalf("a new group reads %v", got)
			}
		},
		"a transaction moves records and offsets together, and an aborted one is not read": func(t *testing.T, ctx context.Context, s *enginetest.Server) {
			create(ctx, t, s.Addr, "cart.events.v1")
			create(ctx, t, s.Addr, "cart.state.v1")
			produce(ctx, t, s.Addr, "cart.events.v1", "u1")
			for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
				session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(s.Addr), kgo.TransactionalID("state-0"),
					kgo.ConsumerGroup("state"), kgo.ConsumeTopics("cart.events.v1"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
					kgo.FetchIsolationLevel(kgo.ReadCommitted()))
				check(t, err)
				if n := len(session.PollFetches(ctx).Records()); n != 1 {
					t.Fatalf("polled %d records", n)
				}
				check(t, session.Begin())
				check(t, session.ProduceSync(ctx, &kgo.Record{Topic: "cart.state.v1", Key: []byte("u1"), Value: []byte("x")}).FirstErr())
				committed, err := session.End(ctx, commit)
				check(t, err)
				if committed != bool(commit) {
					t.Fatalf("committed: %v, wanted %v", committed, commit)
				}
				session.Close()
			}
			produce(ctx, t, s.Addr, "cart.state.v1", "end")
			if got := consumeAsGroup(ctx, t, s.Addr, "reader", "cart.state.v1", 2); strings.Join(got, " ") != "u1 end" {
				t.Fatalf("read_committed reads %v", got)
			}
		},
	}
	for claim, holds := range claims {
		t.Run(claim, func(t *testing.T) {
			s := enginetest.EmbeddedKafka(t)
			holds(t, testContext(t), s)
		})
	}
}

func TestEmbeddedMongoKeepsDocumentsAndReplacesConditionally(t *testing.T) {
	s, ctx := enginetest.EmbeddedMongo(t), testContext(t)
	carts := mongoDatabase(t, s.Addr).Collection("carts")
	newer := func(version int64) error {
		_, err := carts.ReplaceOne(ctx, bson.M{"_id": "u1", "version": bson.M{"$lt": version}}, bson.M{"version": version},
			options.Replace().SetUpsert(true))
		return err
	}
	check(t, newer(2))
	if err := newer(1); !mongo.IsDuplicateKeyError(err) {
		t.Fatalf("an older cart must collide with the newer one, got %v", err)
	}
	s.Kill()
	s.Start()
	var got struct{ Version int64 }
	check(t, carts.FindOne(ctx, bson.M{"_id": "u1"}).Decode(&got))
	if got.Version != 2 {
		t.Fatalf("version %d after a crash", got.Version)
	}
}

func TestAFrozenEngineAnswersNothingUntilItThaws(t *testing.T) {
	s, ctx := enginetest.EmbeddedRedis(t), testContext(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ReadTimeout: 100 * time.Millisecond, DialTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { _ = c.Close() })
	check(t, c.Ping(ctx).Err())
	s.Freeze()
	if c.Ping(ctx).Err() == nil {
		t.Fatal("it answered")
	}
	s.Thaw()
	eventually(ctx, t, "it answers again", func() bool { return c.Ping(ctx).Err() == nil })
}

// The test binary runs itself as the process that gets killed.
func TestNothingIsLeftAfterATestIsKilled(t *testing.T) {
	const asVictim = "ENGINETEST_VICTIM"
	if os.Getenv(asVictim) != "" {
		_, _ = os.Stdout.WriteString(enginetest.EmbeddedRedis(t).Addr + "\n")
		select {}
	}
	enginetest.Redis(t) // so that the victim needn't build the engines first
	ctx := testContext(t)
	victim := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$")
	victim.Env = append(os.Environ(), asVictim+"=1")
	stdout, err := victim.StdoutPipe()
	check(t, err)
	check(t, victim.Start())
	addr := make([]byte, 64)
	n, err := stdout.Read(addr)
	check(t, err)
	c := redisClient(t, strings.TrimSpace(string(addr[:n])))
	check(t, c.Ping(ctx).Err())

	check(t, victim.Process.Kill())
	_ = victim.Wait()
	eventually(ctx, t, "the engine is gone", func() bool { return c.Ping(ctx).Err() != nil })
}
