package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

// copier writes each record to out, and rejects "poison".
func copier(handle func(context.Context, []runner.Record[string]) error) runner.Transactional[string] {
	return runner.Transactional[string]{
		Group: "g", Topics: []string{in}, Decode: text,
		Handle: func(ctx context.Context, batch []runner.Record[string]) ([]*kgo.Record, error) {
			if handle != nil {
				if err := handle(ctx, batch); err != nil {
					return nil, err
				}
			}
			var produce []*kgo.Record
			for _, r := range batch {
				if r.Value == "poison" {
					return nil, runner.Permanent(errors.New("rejected"))
				}
				produce = append(produce, &kgo.Record{Topic: out, Key: r.Key, Value: r.Record.Value})
			}
			return produce, nil
		},
	}
}

func values(records []*kgo.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Value))
	}
	return out
}

func (k *kafka) holds(t *testing.T, topic string, want ...string) bool {
	got := values(k.read(t, topic))
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}

func TestRecordsAndOffsetsAreOneTransaction(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	k.write(t, 0, "a", "a0")
	aborted := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 2})
	r := run(t, k, copier(nil))
	until(t, "two transactions were aborted", func() bool { return aborted.Hits() == 2 })
	k.write(t, 1, "b", "b0")
	until(t, "the offsets are committed", func() bool { return k.committed("g", 0) == 1 && k.committed("g", 1) == 1 })
	if got := values(k.read(t, out)); len(got) != 2 {
		t.Errorf("out holds %q", got)
	}
	if done, lag := r.metric(t, "cartstream_consumer_records_total"), r.metric(t, "cartstream_consumer_lag_seconds"); done != 2 || lag != 0 {
		t.Errorf("%v records are done, the lag is %v", done, lag)
	}
}

func TestALetterAndItsHealingArePartOfTheTransaction(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	k.write(t, 0, "a", "a0")
	k.write(t, 0, "b", "poison")
	k.write(t, 0, "c", "null")
	k.write(t, 0, "d", "d0")
	aborted := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 2})
	c := copier(nil)
	c.Heal = func(_ context.Context, r *kgo.Record) ([]*kgo.Record, error) {
		if string(r.Key) == "c" {
			return nil, runner.Permanent(errors.New("no cart"))
		}
		return []*kgo.Record{{Topic: out, Key: r.Key, Value: []byte("healed " + string(r.Key))}}, nil
	}
	run(t, k, c)
	until(t, "two transactions were aborted", func() bool { return aborted.Hits() == 2 })
	until(t, "the offset is committed", func() bool { return k.committed("g", 0) == 4 })
	if !k.holds(t, out, "a0", "d0", "healed b") {
		t.Errorf("out holds %q", values(k.read(t, out)))
	}
	classes := map[string]string{}
	for _, l := range k.read(t, dlq) {
		classes[string(l.Key)] += headers(l)["dlq.class"]
	}
	if fmt.Sprint(classes) != "map[b:rejected c:undecodable]" {
		t.Errorf("letters %v", classes)
	}
}

func TestATransactionalPartitionInTroubleStopsNoOther(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 3)
	var away atomic.Bool
	away.Store(true)
	r := run(t, k, copier(func(_ context.Context, batch []runner.Record[string]) error {
		for _, r := range batch {
			if r.Partition == 1 && away.Load() {
				return errAway
			}
		}
		return nil
	}))
	for i, v := range numbers("v", 30) {
		k.write(t, int32(i%3), "a", v)
	}
	until(t, "the others are done", func() bool { return k.committed("g", 0) == 10 && k.committed("g", 2) == 10 })
	until(t, "it was tried again and again", func() bool { return r.metric(t, "cartstream_consumer_retries_total") > 6 })
	if at, lag := k.committed("g", 1), r.metric(t, "cartstream_consumer_lag_seconds"); at > 0 || lag <= 0 {
		t.Errorf("committed %d, lag %v", at, lag)
	}
	if n := len(k.read(t, out)); n != 20 {
		t.Errorf("out holds %d records", n)
	}
	away.Store(false)
	until(t, "it is done", func() bool { return k.committed("g", 1) == 10 })
	if !k.holds(t, out, numbers("v", 30)...) || len(k.read(t, dlq)) != 0 {
		t.Errorf("out holds %q", values(k.read(t, out)))
	}
}

func TestALetterThatTheTransactionCanNotWriteHoldsOnlyItsPartition(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: kerr.TopicAuthorizationFailed, Count: -1})
	run(t, k, copier(nil))
	k.write(t, 0, "a", "poison")
	k.write(t, 0, "a", "a1")
	until(t, "the letter was tried", func() bool { return fault.Hits() > 0 })
	for _, v := range numbers("b", 5) {
		k.write(t, 1, "b", v)
	}
	until(t, "the other partition goes on", func() bool { return k.committed("g", 1) == 5 })
	until(t, "the letter was tried again", func() bool { return fault.Hits() > 3 })
	fault.Remove()
	until(t, "the partition goes on", func() bool { return k.committed("g", 0) == 2 })
	if !k.holds(t, out, append(numbers("b", 5), "a1")...) || !k.holds(t, dlq, "poison") {
		t.Errorf("out holds %q, the letters are %q", values(k.read(t, out)), values(k.read(t, dlq)))
	}
}

// A member whose session ended without its knowing reads something, is held up, and wakes after the new owner published
// something newer.
func TestAMemberThatLostItsPartitionCanNotPublishLast(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	write := func(value string, entered, release chan struct{}) runner.Transactional[string] {
		c := copier(nil)
		c.Handle = func(_ context.Context, batch []runner.Record[string]) ([]*kgo.Record, error) {
			if entered != nil {
				entered <- struct{}{}
				<-release
			}
			return []*kgo.Record{{Topic: out, Key: batch[0].Key, Value: []byte(value)}}, nil
		}
		return c
	}
	entered, release := make(chan struct{}, 10), make(chan struct{})
	cfg := runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...), kgo.SessionTimeout(k.session)}}
	runWith(t, cfg, write("old", entered, release))
	k.write(t, 0, "a", "v0")
	<-entered
	zombie := k.GroupInfo("g").Members[0].MemberID
	k.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorNotAvailable, TopLevel: true, Count: -1,
		When: func(r kmsg.Request) bool { return r.(*kmsg.HeartbeatRequest).MemberID == zombie },
	})
	run(t, k, write("new", nil, nil))
	until(t, "the new owner published", func() bool { return k.holds(t, out, "new") })
	ends := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Observe: true, Count: -1})
	close(release)
	until(t, "the old owner's transaction ended", func() bool { return ends.Hits() > 0 })
	if got := values(k.read(t, out)); !slices.Equal(got, []string{"new"}) {
		t.Errorf("out holds %q", got)
	}
}

func TestEachRecordIsCopiedOnceWhateverHappensToTheMembers(t *testing.T) {
	t.Parallel()
	copiedOnce(t, newKafka(t, 4), 400)
}

// copiedOnce uses 4 partitions.
func copiedOnce(t *testing.T, k *kafka, each int) {
	var want []string
	for i := range each {
		for p := range 4 {
			v := fmt.Sprintf("k%d:%d", p, i)
			want = append(want, v)
			k.Produce(t.Context(), &kgo.Record{Topic: in, Partition: int32(p), Key: fmt.Appendf(nil, "k%d", p), Value: []byte(v)}, nil)
		}
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := copier(func(_ context.Context, batch []runner.Record[string]) error {
		time.Sleep(time.Duration(len(batch)) * time.Millisecond)
		return nil
	})
	c.MaxBatch = 20
	wire := newWire(k)
	limits := []kgo.Opt{kgo.SessionTimeout(k.session), kgo.TransactionTimeout(time.Second)}
	first := runWith(t, runner.Config{Kafka: wire.options(limits...)}, c)
	second := run(t, k, c)
	until(t, "two members share the group", func() bool { return k.members("g") == 2 })
	wire.cut() // in the middle of a transaction, like as not
	until(t, "one member is left", func() bool { return k.members("g") == 1 })
	run(t, k, c)
	until(t, "two members share the group again", func() bool { return k.members("g") == 2 })
	second.stop()
	until(t, "all is committed", func() bool {
		for p := range 4 {
			if k.committed("g", int32(p)) != int64(each) {
				return false
			}
		}
		return true
	})
	first.stop()
	records := k.read(t, out)
	next := map[string]int{}
	for _, r := range records {
		key, n, _ := strings.Cut(string(r.Value), ":")
		if n != fmt.Sprint(next[key]) {
			t.Errorf("%s came where %d was next", r.Value, next[key])
		}
		next[key]++
	}
	if len(records) != len(want) {
		t.Errorf("out holds %d records, want %d", len(records), len(want))
	}
}

func TestADrainEndsTheTransactionInHand(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	r := run(t, k, copier(func(ctx context.Context, _ []runner.Record[string]) error {
		entered <- struct{}{}
		<-release
		return ctx.Err()
	}))
	k.write(t, 0, "a", "v0")
	<-entered
	var wg sync.WaitGroup
	wg.Go(r.stop)
	time.AfterFunc(100*time.Millisecond, func() { close(release) })
	wg.Wait()
	if !k.holds(t, out, "v0") || k.committed("g", 0) != 1 {
		t.Errorf("out holds %q, committed %d", values(k.read(t, out)), k.committed("g", 0))
	}
	if n := len(k.GroupInfo("g").Members); n != 0 {
		t.Errorf("%d members", n)
	}
}

func TestATransactionalConsumerIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	r := run(t, k, copier(nil))
	k.write(t, 0, "a", "v0")
	until(t, "it runs", func() bool { return k.committed("g", 0) == 1 })
	fetched := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Observe: true, Count: -1})
	until(t, "it polls and finds nothing", func() bool { return fetched.Hits() > 2 })
	if err := r.Pause("g"); err != nil {
		t.Fatal(err)
	}
	handled := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Observe: true, Count: -1})
	k.write(t, 0, "a", "v1") // for the poll under way
	k.write(t, 0, "a", "v2")
	beats := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
	until(t, "some time went by", func() bool { return beats.Hits() > 5 })
	if n := handled.Hits(); n > 0 {
		t.Errorf("%d transactions while it was paused", n)
	}
	if err := r.Resume("g"); err != nil {
		t.Fatal(err)
	}
	until(t, "the records are handled", func() bool { return k.committed("g", 0) == 3 })
}

func TestAPausedMemberHoldsUpNoRebalance(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	r := run(t, k, copier(nil))
	k.write(t, 0, "a", "a0")
	k.write(t, 1, "b", "b0")
	until(t, "it runs", func() bool { return k.committed("g", 0) == 1 && k.committed("g", 1) == 1 })
	if err := r.Pause("g"); err != nil {
		t.Fatal(err)
	}
	k.write(t, 0, "a", "a1") // for the poll under way
	k.write(t, 1, "b", "b1")
	run(t, k, copier(nil))
	until(t, "the other member has handled its partition's", func() bool { return k.committed("g", 0)+k.committed("g", 1) == 3 })
	if err := r.Resume("g"); err != nil {
		t.Fatal(err)
	}
	until(t, "all is handled", func() bool { return k.committed("g", 0) == 2 && k.committed("g", 1) == 2 })
	if !k.holds(t, out, "a0", "a1", "b0", "b1") {
		t.Errorf("out holds %q", values(k.read(t, out)))
	}
}
