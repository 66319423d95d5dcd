package runner_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

// shelf is a Parker that keeps letters, once it is there.
type shelf struct {
	mu      sync.Mutex
	away    bool
	asked   int
	letters []*kgo.Record
	before  func() // what is called when letters come
}

func (s *shelf) Park(_ context.Context, letters []*kgo.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.before != nil {
		s.before()
	}
	if s.away {
		return errors.New("nothing takes letters")
	}
	s.letters = append(s.letters, letters...)
	return nil
}

func (s *shelf) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *shelf) back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = false
}

// ids are those of the letters that it keeps, each once.
func (s *shelf) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, l := range s.letters {
		ids = append(ids, headers(l)["dlq.id"])
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func TestALetterThatNoTransactionCanHoldIsStoredElsewhereFirst(t *testing.T) {
	t.Parallel()
	for claim, fault := range map[string]*kerr.Error{
		"the topic refuses it":   kerr.TopicAuthorizationFailed,
		"the topic is never led": kerr.LeaderNotAvailable, // tried again until the transaction's time is over
	} {
		t.Run(claim, func(t *testing.T) {
			k := newKafka(t, 2)
			k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: fault, Count: -1})
			kept := &shelf{before: func() {
				if at := k.committed("g", 0); at > 0 {
					t.Errorf("the offset was at %d before the letter was stored", at)
				}
			}}
			c := copier(nil)
			c.Heal = func(_ context.Context, r *kgo.Record) ([]*kgo.Record, error) {
				return []*kgo.Record{{Topic: out, Key: r.Key, Value: []byte("healed")}}, nil
			}
			at := k.write(t, 0, "a", "poison")
			k.write(t, 0, "a", "a1")
			k.write(t, 1, "b", "b0")
			r := runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Parker: kept}, c)
			until(t, "both partitions are done", func() bool { return k.committed("g", 0) == 2 && k.committed("g", 1) == 1 })
			if !k.holds(t, out, "healed", "a1", "b0") || len(k.read(t, dlq)) != 0 {
				t.Errorf("out holds %q, the letters are %q", values(k.read(t, out)), values(k.read(t, dlq)))
			}
			if ids := kept.ids(); len(ids) != 1 || kept.letters[0].Topic != dlq || headers(kept.letters[0])["__dlq.errors.offset"] != "0" || at != 0 {
				t.Errorf("kept %v", kept.letters)
			}
			if n := r.metric(t, "cartstream_consumer_parked_total"); n != 1 {
				t.Errorf("%v records are parked", n)
			}
		})
	}
}

func TestALetterThatNothingTakesHoldsOnlyItsPartition(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: kerr.TopicAuthorizationFailed, Count: -1})
	kept := &shelf{away: true}
	runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Parker: kept}, copier(nil))
	k.write(t, 0, "a", "poison")
	until(t, "the Parker was asked", func() bool { return kept.tried() > 1 })
	for _, v := range numbers("b", 5) {
		k.write(t, 1, "b", v)
	}
	until(t, "the other partition goes on", func() bool { return k.committed("g", 1) == 5 })
	if at := k.committed("g", 0); at > 0 {
		t.Errorf("committed %d without a letter", at)
	}
	kept.back()
	until(t, "the partition goes on", func() bool { return k.committed("g", 0) == 1 })
	if len(kept.ids()) != 1 {
		t.Errorf("kept %v", kept.letters)
	}
}

func TestALetterStoredForATransactionThatFailsHasTheSameIDAgain(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: kerr.TopicAuthorizationFailed, Count: -1})
	aborted := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3})
	kept := &shelf{}
	k.write(t, 0, "a", "poison")
	runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Parker: kept}, copier(nil))
	until(t, "the offset is committed", func() bool { return k.committed("g", 0) == 1 })
	if n := aborted.Hits(); n != 3 || kept.tried() < 2 || len(kept.ids()) != 1 {
		t.Errorf("%d transactions failed, %d letters, ids %v", n, kept.tried(), kept.ids())
	}
}
