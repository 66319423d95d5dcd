package relay_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/schemas"
)

const rebalance = 5 * time.Second

func TestShardsAreDividedAmongTheInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(32)
		each := func(names ...string) func() bool {
			return func() bool {
				owners, sum := s.owners(), 0
				for _, n := range names {
					if owners[n] < 3 {
						return false
					}
					sum += owners[n]
				}
				return sum == 32
			}
		}
		last := map[string]int{}
		relayed := func() {
			t.Helper()
			for _, u := range users(64) {
				last[u]++
				s.add(entry(u, last[u], 100))
			}
			within(t, time.Second, "every shard relayed", func() bool { return s.left() == 0 })
		}

		start(t, "a", k, s.connect())
		t.Log("alone after", within(t, time.Second, "a has all", each("a")))
		relayed()

		b := start(t, "b", k, s.connect())
		t.Log("joined after", within(t, rebalance, "b has its share", each("a", "b")))
		relayed()

		dying := s.connect()
		start(t, "c", k, dying)
		t.Log("joined after", within(t, rebalance, "c has its share", each("a", "b", "c")))
		relayed()

		thaw := dying.freeze()
		t.Log("died; others took over after", within(t, rebalance, "c's share is taken over", each("a", "b")))
		relayed()

		thaw()
		within(t, rebalance, "c is back", each("a", "b", "c"))
		relayed()

		begin := time.Now()
		b.drain()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("draining took %v with nothing in flight", took)
		}
		t.Log("drained; others took over after", within(t, 2*time.Second, "b's share is taken over", each("a", "c")))
		relayed()
		checkOrder(t, k.records(t, schemas.CartEvents), last)
	})
}

func TestAnInstanceThatWasPausedTouchesNothingOfTheNewOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(4)
		paused := s.connect()
		start(t, "a", k, paused)
		last := map[string]int{}
		add := func() {
			for _, u := range users(20) {
				last[u]++
				s.add(entry(u, last[u], 100))
			}
		}
		add()
		within(t, 5*time.Second, "outbox empty", func() bool { return s.left() == 0 })

		thaw := paused.freeze()
		time.Sleep(10 * time.Second)
		for shard := range s.shards {
			s.steal(shard, 20*time.Second) // by an instance that hasn't got further than that
		}
		add() // the first that a sees when it goes on
		calls, before := paused.count("beat"), len(k.records(t, schemas.CartEvents))
		thaw()
		within(t, 5*time.Second, "a has seen that its leases are gone", func() bool { return paused.count("beat") > calls+3 })
		if n := len(k.records(t, schemas.CartEvents)); n != before || s.left() != 20 {
			t.Errorf("without a lease, %d records were produced, %d entries trimmed", n-before, 20-s.left())
		}
		within(t, 30*time.Second, "outbox empty", func() bool { return s.left() == 0 })
		checkOrder(t, k.records(t, schemas.CartEvents), last)
	})
}

func TestALeaseLostWhileARoundIsInFlightIsNotTrimmedUnder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(1)
		i := start(t, "a", k, s.connect())
		within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 1 })
		k.leave()
		s.add(entry("u1", 1, 100), entry("u1", 2, 100))
		time.Sleep(100 * time.Millisecond)
		s.steal(0, 20*time.Second)
		time.Sleep(2 * time.Second)
		k.back()
		within(t, 15*time.Second, "Kafka has it", func() bool { return len(k.records(t, schemas.CartEvents)) == 2 })
		time.Sleep(time.Second)
		if s.left() != 2 {
			t.Errorf("%d entries left: what isn't ours was trimmed", s.left())
		}
		within(t, 30*time.Second, "relayed again by whoever owns it", func() bool { return s.left() == 0 })
	})
}

func TestDraining(t *testing.T) {
	for name, kafkaAway := range map[string]bool{"finishes what is in flight": false, "waits 5 s for a Kafka that is away": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(8)
				i := start(t, "a", k, s.connect())
				within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 8 })
				k.leave()
				last := map[string]int{}
				var all []schemas.OutboxEntry
				for _, u := range users(30) {
					last[u]++
					all = append(all, entry(u, last[u], 100))
				}
				s.add(all...)
				time.Sleep(100 * time.Millisecond)
				if !kafkaAway {
					time.AfterFunc(500*time.Millisecond, k.back)
				}
				begin := time.Now()
				i.drain()
				if took := time.Since(begin); took > 6500*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if err := i.err(); err != nil {
					t.Error(err)
				}
				if len(s.owners()) != 0 {
					t.Errorf("leases are still held: %v", s.owners())
				}
				if left := s.left(); (left > 0) != kafkaAway {
					t.Errorf("%d entries left", left)
				}
				k.back()
				start(t, "b", k, s.connect())
				within(t, 2*time.Second, "the rest relayed", func() bool { return s.left() == 0 })
				checkOrder(t, k.records(t, schemas.CartEvents), last)
			})
		})
	}
}

func TestAnIdleInstanceCostsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(128)
		o := s.connect()
		i := start(t, "a", k, o)
		within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 128 })
		beats, reads, trims := o.count("beat"), o.count("read"), o.count("trim")
		time.Sleep(time.Minute)
		if n := o.count("beat") - beats; n > 90 {
			t.Errorf("%d beats a minute", n)
		}
		if n := o.count("read") - reads; n > 250 {
			t.Errorf("%d reads a minute", n)
		}
		if n := o.count("trim") - trims; n > 0 {
			t.Errorf("%d trims of nothing", n)
		}
	})
}

func TestABusyOutboxIsTrimmedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(1)
		o := s.connect()
		i := startTrimming(t, "a", k, o, time.Second)
		within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 1 })
		for v := 1; v <= 500; v++ {
			s.add(entry("u1", v, 100))
			time.Sleep(10 * time.Millisecond)
		}
		if n := o.count("trim"); n < 5 || n > 7 {
			t.Errorf("%d trims in five seconds", n)
		}
		within(t, 1100*time.Millisecond, "the last is trimmed too", func() bool { return s.left() == 0 })
		s.add(entry("u1", 501, 100))
		within(t, 1100*time.Millisecond, "trimmed", func() bool { return s.left() == 0 })
		for v := 1; v <= 2000; v++ {
			s.add(entry("u2", v, 100))
		}
		within(t, 500*time.Millisecond, "many are trimmed at once", func() bool { return s.left() < 500 })
		time.Sleep(2 * time.Second)
		for v := 502; v <= 503; v++ {
			s.add(entry("u1", v, 100))
			time.Sleep(10 * time.Millisecond)
		}
		if s.left() == 0 {
			t.Error("nothing is left to trim: the rest proves nothing")
		}
		i.drain()
		if n := s.left(); n > 0 {
			t.Errorf("%d entries left by who drained", n)
		}
	})
}

func TestChangesGoWithACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(8)
		o := s.connect()
		i := start(t, "a", k, o)
		within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 8 })
		change := func(v int) {
			for n := range 1000 {
				s.add(entry("u1", v*1000+n, 100))
				time.Sleep(time.Millisecond)
			}
		}
		before := o.count("read")
		change(0)
		alone := o.count("read") - before
		var crowding sync.WaitGroup
		crowding.Go(func() {
			for n := range 100 {
				var many []schemas.OutboxEntry
				for _, u := range users(100) {
					many = append(many, entry("crowd-"+u, n+1, 100))
				}
				s.add(many...)
				time.Sleep(10 * time.Millisecond)
			}
		})
		before = o.count("read")
		change(1)
		crowding.Wait()
		if crowded := o.count("read") - before; alone < 900 || crowded > 400 {
			t.Errorf("%d reads for 1,000 changes alone, %d with a crowd of 100 each 10 ms", alone, crowded)
		}
		within(t, time.Second, "outbox empty", func() bool { return s.left() == 0 })
	})
}
