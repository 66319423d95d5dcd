package relay_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"cartstream/schemas"
	"cartstream/schemas/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryEntryReachesKafkaInOrderAndLeavesTheOutbox(t *testing.T) {
	for name, alone := range map[string]bool{"all shards read together": false, "each shard read alone": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(8)
				o := s.connect()
				o.alone = alone
				i := start(t, "a", k, o)
				last := map[string]int{}
				for v := 1; v <= 50; v++ {
					for _, u := range users(40) {
						s.add(entry(u, v, 400))
						last[u] = v
					}
				}
				within(t, 10*time.Second, "outbox empty", func() bool { return s.left() == 0 })
				records := k.records(t, schemas.CartEvents)
				checkOrder(t, records, last)
				if len(records) != 2000 || i.value(t, "published_total") != 2000 {
					t.Errorf("%d records, %v published: nothing failed, so nothing may repeat", len(records), i.value(t, "published_total"))
				}
				h := records[0].Headers
				if len(h) != 8 || h[0].Key != schemas.HeaderSpecVersion || string(h[0].Value) != "1.0" {
					t.Errorf("headers %v", h)
				}
				if i.value(t, "pending") != 0 || i.value(t, "owned_shards") != 8 {
					t.Errorf("pending %v, owned %v", i.value(t, "pending"), i.value(t, "owned_shards"))
				}
			})
		})
	}
}

// The property: whatever fails, Kafka has every version, first appearances in order.
func TestOrderHoldsWhateverFails(t *testing.T) {
	codes := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.UnknownServerError, kerr.MessageTooLarge, kerr.TopicAuthorizationFailed, kerr.OutOfOrderSequenceNumber, kerr.CorruptMessage,
	}
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			k, s := newKafka(t), newServer(8)
			flaky := func(call string, shard int) error {
				if rand.N(20) == 0 {
					return errors.New("flaky " + call)
				}
				return nil
			}
			a, b := s.connect(), s.connect()
			b.alone = seed%2 == 0
			start(t, "a", k, a)
			start(t, "b", k, b)
			last := map[string]int{}
			all := users(20)
			for step := range 150 {
				for range rnd.IntN(40) {
					u := all[rnd.IntN(len(all)*(1+step%2)/2)] // now few users, now many
					last[u]++
					s.add(entry(u, last[u], 100+rnd.IntN(3000)))
				}
				switch rnd.IntN(12) {
				case 0, 1, 2, 3:
					k.Fault(kfake.Fault{
						Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.CartEvents, Partitions: []int32{rnd.Int32N(partitions)},
						Err: codes[rnd.IntN(len(codes))], Count: 1 + rnd.IntN(3),
					})
				case 4:
					a.failing(flaky)
				case 5:
					a.failing(nil)
				case 6:
					s.raise(rnd.IntN(8))
				case 7:
					s.steal(rnd.IntN(8), time.Second)
				case 8:
					k.leave()
				case 9:
					k.ShufflePartitionLeaders()
				}
				time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
				if rnd.IntN(3) == 0 {
					k.back()
				}
			}
			k.back()
			a.failing(nil)
			within(t, time.Minute, "outbox empty", func() bool { return s.left() == 0 })
			records := k.records(t, schemas.CartEvents)
			checkOrder(t, records, last)
			t.Logf("seed %d: %d records of %d users", seed, len(records), len(last))
		})
	}
}

// refusal lets a test hold up a round in the middle, until Kafka has refused the part that was sent.
type refusal struct {
	after   int // records
	seen    int
	refused chan struct{}
	once    sync.Once
}

func (r *refusal) OnProduceRecordBuffered(*kgo.Record) {
	if r.seen++; r.seen == r.after+1 {
		<-r.refused
	}
}

func (r *refusal) OnProduceRecordUnbuffered(_ *kgo.Record, err error) {
	if err != nil {
		r.once.Do(func() { close(r.refused) })
	}
}

func TestWhatARoundGoesOnToSendDoesNotOvertakeWhatKafkaHasRefused(t *testing.T) {
	for name, code := range map[string]*kerr.Error{
		"by an error of the server": kerr.UnknownServerError, "for its size": kerr.MessageTooLarge, "for want of a right": kerr.TopicAuthorizationFailed,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(4)
				start(t, "a", k, s.connect(), kgo.WithHooks(&refusal{after: 10, refused: make(chan struct{})}))
				within(t, time.Second, "all owned", func() bool { return s.owners()["a"] == 4 })
				fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: code})
				var burst []schemas.OutboxEntry
				for v := range 300 {
					burst = append(burst, entry("u1", v+1, 200))
				}
				s.add(burst...)
				within(t, 10*time.Second, "outbox empty", func() bool { return s.left() == 0 })
				if fault.Hits() == 0 {
					t.Error("nothing was refused")
				}
				checkOrder(t, k.records(t, schemas.CartEvents), map[string]int{"u1": 300})
			})
		})
	}
}

func TestKafkaAwayForHoursCostsBoundedMemoryAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		i := start(t, "a", k, s.connect())
		last := map[string]int{}
		add := func(n int) {
			for range n {
				for _, u := range users(20) {
					last[u]++
					s.add(entry(u, last[u], 1000))
				}
			}
		}
		add(1)
		within(t, 5*time.Second, "outbox empty", func() bool { return s.left() == 0 })
		k.leave()
		for range 500 {
			add(2)
			time.Sleep(15 * time.Second)
		}
		if held := i.value(t, "pending"); held < 100 || held > 4*1500 {
			t.Errorf("%v entries held of %d", held, s.left())
		}
		if age := i.value(t, "oldest_seconds"); age < 7000 || age > 8000 {
			t.Errorf("the oldest is said to be %v s old", age)
		}
		k.back()
		within(t, 10*time.Second, "outbox drained", func() bool { return s.left() == 0 })
		checkOrder(t, k.records(t, schemas.CartEvents), last)
	})
}

func TestTheLargestEntryPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		start(t, "a", k, s.connect())
		for v := range 10 {
			s.add(entry("u1", v+1, 4_000_000))
		}
		within(t, 10*time.Second, "outbox empty", func() bool { return s.left() == 0 })
		checkOrder(t, k.records(t, schemas.CartEvents), map[string]int{"u1": 10})
	})
}

func TestEntriesGoToTheTopicsTheyName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		start(t, "a", k, s.connect())
		for v := range 5 {
			reminder := entry("u1", v+1, 100)
			reminder.Topic = schemas.CartReminders
			s.add(entry("u1", v+1, 100), reminder)
		}
		within(t, 10*time.Second, "outbox empty", func() bool { return s.left() == 0 })
		for _, topic := range []string{schemas.CartEvents, schemas.CartReminders} {
			checkOrder(t, k.records(t, topic), map[string]int{"u1": 5})
		}
	})
}

func TestTopics(t *testing.T) {
	t.Run("that are missing are created with the contract's settings, as soon as Kafka is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, s := newKafka(t), newServer(4)
			k.leave()
			start(t, "a", k, s.connect())
			s.add(entry("u1", 1, 100))
			time.Sleep(time.Hour)
			if len(s.owners()) != 0 {
				t.Error("an instance without Kafka took shards")
			}
			k.back()
			within(t, 15*time.Second, "outbox empty", func() bool { return s.left() == 0 })
			info := k.TopicInfo(schemas.CartEvents)
			if size := info.Configs["max.message.bytes"]; size == nil || *size != "4194304" || len(k.PartitionInfos(schemas.CartEvents)) != partitions {
				t.Errorf("topic %+v", info)
			}
		})
	})
	t.Run("with another number of partitions refuse to start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, s := newKafka(t, kfake.SeedTopics(3, schemas.CartEvents)), newServer(4)
			s.add(entry("u1", 1, 100))
			if err := start(t, "a", k, s.connect()).err(); !errors.Is(err, env.ErrPartitions) {
				t.Errorf("error %v", err)
			}
			if s.left() != 1 {
				t.Error("something was relayed")
			}
		})
	})
}
