package relay_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/schemas"
)

// A relay is in the middle of producing when its shard gets another generation, or its lease goes to somebody else.
func TestWhatWasOnItsWayWhenItsGenerationEndedIsNamedToTheNextOne(t *testing.T) {
	for claim, c := range map[string]struct {
		trouble func(s *server)
		want    []string
	}{
		"where Redis lost its data":          {func(s *server) { s.lose(0) }, []string{"u1", "u2"}},
		"where Redis kept its data":          {func(s *server) { s.raise(0) }, []string{"u1", "u2"}},
		"but not where only the lease moved": {func(s *server) { s.steal(0, 2*time.Second) }, nil},
		"and nobody where nothing happened":  {func(*server) {}, nil},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := newKafka(t), newServer(1)
				i := start(t, "a", k, s.connect())
				within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 1 })
				s.add(entry("u0", 1, 100)) // which Kafka has for long by then
				within(t, time.Second, "outbox empty", func() bool { return s.left() == 0 })
				time.Sleep(2 * time.Second)
				k.leave()
				s.add(entry("u1", 1, 100), entry("u2", 1, 100), entry("u1", 2, 100))
				reminder := entry("u3", 1, 100)
				reminder.Topic = schemas.CartReminders
				s.add(reminder)
				time.Sleep(100 * time.Millisecond)
				c.trouble(s)
				time.Sleep(5 * time.Second)
				k.back() // it may never get what its client had given up by then and Redis lost: nobody can tell, so all are named
				time.Sleep(15 * time.Second)
				late := s.compared(0)
				slices.Sort(late)
				if !slices.Equal(slices.Compact(late), c.want) {
					t.Errorf("%v are named, want %v", late, c.want)
				}
				time.Sleep(5 * time.Second)
				if again := s.compared(0); len(again) != len(late) {
					t.Errorf("%v are named again", again)
				}
			})
		})
	}
}

func TestWhatKafkaAcknowledgedJustBeforeItsGenerationEndedIsNamedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKafka(t), newServer(1)
		o := s.connect()
		i := start(t, "a", k, o)
		within(t, time.Second, "owned", func() bool { return i.value(t, "owned_shards") == 1 })
		beats := o.count("beat")
		within(t, time.Second, "a heartbeat that was just sent", func() bool { return o.count("beat") > beats })
		s.add(entry("u1", 1, 100))
		within(t, 500*time.Millisecond, "Kafka has it", func() bool { return len(k.records(t, schemas.CartEvents)) == 1 })
		s.raise(0)
		within(t, 3*time.Second, "u1 is named", func() bool { return slices.Contains(s.compared(0), "u1") })
	})
}
