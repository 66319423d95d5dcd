package relay_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/schemas"
)

func TestOneShardsTroubleHoldsUpNoOther(t *testing.T) {
	trouble := map[string]func(k *kafka, o *outbox, shard int){
		"its outbox can't be read": func(_ *kafka, o *outbox, shard int) {
			o.failing(func(call string, n int) error {
				if call == "read" && n == shard {
					return errors.New("recovering")
				}
				return nil
			})
		},
		"its outbox can't be trimmed": func(_ *kafka, o *outbox, shard int) {
			o.failing(func(call string, n int) error {
				if call == "trim" && n == shard {
					return errors.New("i/o timeout")
				}
				return nil
			})
		},
		"its lease can't be renewed": func(_ *kafka, o *outbox, shard int) {
			o.failing(func(call string, n int) error {
				if call == "beat" && n == shard {
					return errors.New("i/o timeout")
				}
				return nil
			})
		},
		"its partition refuses": func(k *kafka, _ *outbox, shard int) {
			k.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.CartEvents, Partitions: []int32{int32(shard % partitions)},
				Err: kerr.TopicAuthorizationFailed, Count: -1,
			})
		},
		"its partition has no leader that takes writes": func(k *kafka, _ *outbox, shard int) {
			k.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.CartEvents, Partitions: []int32{int32(shard % partitions)},
				Err: kerr.NotEnoughReplicas, Count: -1,
			})
		},
	}
	for name, make := range trouble {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(partitions)
				o := s.connect()
				i := start(t, "a", k, o)
				within(t, time.Second, "all owned", func() bool { return i.value(t, "owned_shards") == partitions })
				const sick = 2
				make(k, o, sick)
				time.Sleep(4 * time.Second)
				version := 0
				for range 20 {
					version++
					for _, u := range users(40) {
						s.add(entry(u, version, 2000))
					}
					others := func() bool {
						s.mu.Lock()
						defer s.mu.Unlock()
						n := 0
						for shard, t := range s.shards {
							if shard != sick {
								n += len(t.entries)
							}
						}
						return n == 0
					}
					within(t, 500*time.Millisecond, "the other shards relayed", others)
				}
				if s.left() == 0 {
					t.Error("the sick shard was no trouble at all")
				}
			})
		})
	}
}

func TestAnEntryThatKafkaNeverTakesHoldsUpItsShardLoudly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		i := start(t, "a", k, s.connect())
		s.add(entry("u1", 1, 100), entry("u1", 2, 5<<20), entry("u1", 3, 100))
		within(t, 10*time.Second, "error counted", func() bool { return i.value(t, "errors_total") >= 3 })
		checkOrder(t, k.records(t, schemas.CartEvents), map[string]int{"u1": 1})
		if n := s.left(); n != 2 {
			t.Errorf("%d entries left, want the two from the large one on", n)
		}
	})
}

func TestAfterARefusalRecordsGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		start(t, "a", k, s.connect())
		within(t, time.Second, "all owned", func() bool { return s.owners()["a"] == 4 })
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
			var batch kmsg.RecordBatch
			return batch.ReadFrom(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) != nil || batch.NumRecords > 1
		}})
		var burst []schemas.OutboxEntry
		for v := range 5 {
			burst = append(burst, entry("u1", v+1, 1000))
		}
		s.add(burst...)
		within(t, time.Minute, "outbox empty, though the topic takes small batches only", func() bool { return s.left() == 0 })
		checkOrder(t, k.records(t, schemas.CartEvents), map[string]int{"u1": 5})
	})
}

func TestATopicThatIsRefusedForAWhileIsRelayedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		i := start(t, "a", k, s.connect())
		within(t, time.Second, "all owned", func() bool { return s.owners()["a"] == 4 })
		fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: schemas.CartEvents, Err: kerr.TopicAuthorizationFailed, Count: -1})
		s.add(entry("u1", 1, 100), entry("u1", 2, 100))
		within(t, 10*time.Second, "errors counted", func() bool { return i.value(t, "errors_total") > 2 })
		fault.Remove()
		within(t, time.Minute, "outbox empty", func() bool { return s.left() == 0 })
		checkOrder(t, k.records(t, schemas.CartEvents), map[string]int{"u1": 2})
	})
}

func TestATopicThatIsMadeAnewIsRelayedTo(t *testing.T) {
	for name, written := range map[string]int{"that changes wait for": 1, "that nothing was written to meanwhile": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(4)
				start(t, "a", k, s.connect())
				const old = 5
				for v := range old {
					s.add(entry("u1", 1+v, 100))
				}
				remembers := func() int64 {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.shards[schemas.Partition("u1", 4)].offset
				}
				within(t, 10*time.Second, "the shard knows how far the old topic has come", func() bool { return s.left() == 0 && remembers() == old-1 })
				if err := k.remove(t, schemas.CartEvents); err != nil {
					t.Fatal(err)
				}
				for v := range written {
					s.add(entry("u1", 1+old+v, 100))
				}
				time.Sleep(10 * time.Second)
				if err := k.EnsureTopics(t.Context(), k.client(t)); err != nil {
					t.Fatal(err)
				}
				s.add(entry("u1", 1+old+written, 100))
				within(t, time.Minute, "outbox empty", func() bool { return s.left() == 0 })
				within(t, 5*time.Second, "it knows of the new one alone", func() bool { return remembers() == int64(written) })
				if got := len(k.records(t, schemas.CartEvents)); got != 1+written {
					t.Errorf("%d records in the new topic, want %d", got, 1+written)
				}
			})
		})
	}
}

func TestNothingIsTrimmedUnderALeaseThatMayHaveRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		o := s.connect()
		i := start(t, "a", k, o)
		within(t, time.Second, "all owned", func() bool { return s.owners()["a"] == 4 })
		k.leave()
		s.add(entry("u1", 1, 100))
		time.Sleep(100 * time.Millisecond)
		o.failing(func(call string, _ int) error {
			if call == "beat" {
				return errors.New("i/o timeout")
			}
			return nil
		})
		time.Sleep(4 * time.Second)
		k.back()
		within(t, 15*time.Second, "Kafka has it", func() bool { return i.value(t, "published_total") == 1 })
		time.Sleep(10 * time.Second)
		if n := o.count("trim"); n != 0 {
			t.Errorf("%d trims", n)
		}
		if n := i.value(t, "owned_shards"); n != 0 {
			t.Errorf("%v shards are said to be owned", n)
		}
		o.failing(nil)
		within(t, 2*time.Second, "outbox empty", func() bool { return s.left() == 0 })
	})
}

func TestALeaseThatWasAnothersForAMomentIsTakenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(1)
		o := s.connect()
		start(t, "a", k, o)
		within(t, time.Second, "owned", func() bool { return s.owners()["a"] == 1 })
		o.failing(func(call string, _ int) error {
			if call == "trim" {
				return errors.New("i/o timeout")
			}
			return nil
		})
		s.add(entry("u1", 1, 100))
		within(t, time.Second, "trim tried", func() bool { return o.count("trim") > 0 })
		beats := o.count("beat")
		within(t, time.Second, "a beat is over", func() bool { return o.count("beat") > beats })
		s.steal(0, 100*time.Millisecond)
		time.Sleep(2 * time.Second)
		o.failing(nil)
		within(t, time.Second, "what Kafka has is trimmed under the new token", func() bool { return s.left() == 0 })
	})
}

func TestEveryShardIsToldHowFarItsPartitionHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(2*partitions)
		start(t, "a", k, s.connect())
		for v := range 7 {
			s.add(entry("u1", v+1, 100))
		}
		within(t, 5*time.Second, "outbox empty", func() bool { return s.left() == 0 })
		busy := schemas.Partition("u1", partitions)
		within(t, 5*time.Second, "the shards of the partition know, and no others", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for i, shard := range s.shards {
				if i%partitions == busy && shard.offset != 6 || i%partitions != busy && shard.offset != -1 {
					return false
				}
			}
			return true
		})
	})
}
